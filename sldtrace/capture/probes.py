"""Attaches the probes: by fentry/fexit where that works, else by kprobe/kretprobe, function by function."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from sldtrace.capture import bcc
from sldtrace.capture.program import Program
from sldtrace.errors import SldtraceError
from sldtrace.host import kernel

FENTRY = "fentry"
KPROBE = "kprobe"
BACKENDS = (FENTRY, KPROBE)

# Inner functions first: when a run is seen to begin, all that happens in it is seen.
_FUNCTIONS = ("down_interruptible", "msleep_interruptible", "split_lock_warn", "handle_guest_split_lock")
_REQUIRED = frozenset({"handle_guest_split_lock", "msleep_interruptible"})
_TRACEPOINTS = ("sched:sched_process_exit", "signal:signal_generate")
# They fire on every VM exit or on every write of any MSR: attached when somebody traps.
_ON_FIRST_TRAP = ("kvm:kvm_entry", "kvm:kvm_exit", "msr:write_msr")


@dataclass(frozen=True)
class Probe:
    """What became of one probe; goes into the recording's facts.

    name: function or category:tracepoint; backend: fentry, kprobe, tracepoint, or empty when it is not
    attached; detail: why not, or why not by fentry.
    """

    name: str
    backend: str
    detail: str = ""

    def fact(self) -> dict[str, str]:
        """The probe as JSON values."""
        return asdict(self)


class Probes:
    """The probes of one program; `attach`, then `arm` on the first trap, then `detach`."""

    def __init__(self, program: Program, force: str | None = None) -> None:
        """force: use this backend only (for tests)."""
        self._program = program
        self._force = force
        self._detachers: list[Callable[[], None]] = []
        self.attached: list[Probe] = []

    def attach(self) -> list[Probe]:
        """Attaches what runs from the start; raises SldtraceError when what nothing can do without fails."""
        btf = kernel.has_btf()
        for name in _TRACEPOINTS:
            self._tracepoint(name)
        for function in _FUNCTIONS:
            probe = self._function(function, btf)
            self.attached.append(probe)
            if not probe.backend and function in _REQUIRED:
                raise SldtraceError(
                    f"the kernel's function {function} cannot be probed: {probe.detail}", _advice()
                )
        return self.attached

    def arm(self) -> list[Probe]:
        """Attaches what waits for the first trap, and returns that part."""
        before = len(self.attached)
        for name in _ON_FIRST_TRAP:
            self._tracepoint(name)
        return self.attached[before:]

    def detach(self) -> None:
        """Takes off everything that was attached, the outermost first."""
        with bcc.quiet():
            while self._detachers:
                self._detachers.pop()()

    def _function(self, name: str, btf: bool) -> Probe:
        why: list[str] = []
        for backend in [self._force] if self._force else BACKENDS:
            if backend == FENTRY and not btf:
                why.append("fentry: the kernel has no BTF")
                continue
            try:
                with bcc.quiet() as messages:
                    self._pair(name, backend)
                return Probe(name, backend, "; ".join(why))
            except Exception as error:  # bcc raises nothing more precise
                reason = next((line for line in messages if line.strip()), str(error))
                why.append(f"{backend}: {reason.strip()}")
        return Probe(name, "", "; ".join(why))

    # Both ends of a function by one backend: a run whose beginning is seen is also seen to end.
    def _pair(self, name: str, backend: str | None) -> None:
        module = self._program.module
        if backend == KPROBE:
            module.attach_kretprobe(event=name, fn_name=f"kretprobe__{name}")
            try:
                module.attach_kprobe(event=name, fn_name=f"kprobe__{name}")
            except Exception:
                module.detach_kretprobe(event=name)
                raise
            self._detachers.append(lambda: module.detach_kretprobe(event=name))
            self._detachers.append(lambda: module.detach_kprobe(event=name))
            return
        entry, exit_ = self._fentry_name("kfunc__", name), self._fentry_name("kretfunc__", name)
        module.attach_kretfunc(fn_name=exit_)
        try:
            module.attach_kfunc(fn_name=entry)
        except Exception:
            module.detach_kretfunc(fn_name=exit_)
            raise
        self._detachers.append(lambda: module.detach_kretfunc(fn_name=exit_))
        self._detachers.append(lambda: module.detach_kfunc(fn_name=entry))

    # bcc writes kfunc__NAME up to 0.26 and kfunc__vmlinux__NAME later.
    def _fentry_name(self, prefix: str, name: str) -> str:
        for candidate in (f"{prefix}vmlinux__{name}", f"{prefix}{name}"):
            if candidate in self._program.functions:
                return candidate
        raise LookupError(f"bcc has no program for {prefix}{name}")

    def _tracepoint(self, name: str) -> None:
        module: Any = self._program.module
        function = f"tracepoint__{name.replace(':', '__')}"
        if function not in self._program.functions:
            self.attached.append(Probe(name, "", "this kernel does not have it now"))
            return
        try:
            with bcc.quiet() as messages:
                module.attach_tracepoint(tp=name, fn_name=function)
        except Exception as error:  # bcc raises nothing more precise
            reason = next((line for line in messages if line.strip()), str(error))
            self.attached.append(Probe(name, "", reason.strip()))
            return
        self._detachers.append(lambda: module.detach_tracepoint(tp=name))
        self.attached.append(Probe(name, "tracepoint"))


def _advice() -> str:
    if kernel.lockdown() not in ("none", "unknown"):
        return "the kernel is locked down; try with lockdown off"
    if os.geteuid() != 0:
        return "run it as root"
    return "the kernel must allow BPF tracing (CONFIG_BPF_EVENTS, CONFIG_KPROBES)"
