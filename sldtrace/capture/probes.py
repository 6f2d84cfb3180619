"""Attaches the probes: by fentry/fexit where that works, else by kprobe/kretprobe, function by function."""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sldtrace.capture import bcc
from sldtrace.capture.program import Program, Sizes
from sldtrace.errors import SldtraceError
from sldtrace.host import kernel

FENTRY = "fentry"
KPROBE = "kprobe"

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


class _FentryRefusedError(Exception):
    def __init__(self, function: str, reason: str) -> None:
        super().__init__(reason)
        self.function = function


def load(tgid: int | None, sizes: Sizes, force: str | None) -> "Probes":
    """Compiles and attaches what runs from the start; `force` allows one backend only (for tests).

    A kernel may refuse fentry for a function although its BTF has it (no direct calls, a static function
    that was cloned); then the program is compiled again with a kprobe for that function. Raises SldtraceError
    when it cannot be compiled, or when what nothing can do without cannot be attached.
    """
    why = _without_fentry(force)
    while True:
        probes = Probes(Program(tgid, sizes, why.keys()), why)
        try:
            probes.attach()
            return probes
        except _FentryRefusedError as refused:
            probes.close()
            if force == FENTRY:
                raise SldtraceError(
                    f"fentry is refused for {refused.function}: {refused}", _advice()
                ) from None
            why[refused.function] = f"fentry: {refused}"
        except BaseException:
            probes.close()
            raise


def _without_fentry(force: str | None) -> dict[str, str]:
    if force == FENTRY:
        return {}
    if force == KPROBE:
        return dict.fromkeys(_FUNCTIONS, "asked for")
    described = kernel.in_btf(_FUNCTIONS)
    return {name: "fentry: not in the kernel's BTF" for name in _FUNCTIONS if name not in described}


class Probes:
    """The probes of one program; `load` makes it, `arm` on the first trap, `close` in the end."""

    def __init__(self, program: Program, why: Mapping[str, str]) -> None:
        """why: the functions that get a kprobe, and the reason."""
        self.program = program
        self.attached: list[Probe] = []
        self._why = why
        self._detachers: list[Callable[[], None]] = []

    def attach(self) -> None:
        """Attaches what runs from the start; use `load`."""
        for name in _TRACEPOINTS:
            self._tracepoint(name)
        for name in _FUNCTIONS:
            probe = self._kprobe(name) if name in self._why else self._fentry(name)
            self.attached.append(probe)
            if not probe.backend and name in _REQUIRED:
                raise SldtraceError(f"{name} cannot be probed: {probe.detail}", _advice())
        with bcc.quiet():
            for name in _ON_FIRST_TRAP:
                self._load(name)

    # Verified and translated now. That takes milliseconds; if it ran when the first trap came it could keep a
    # punished vCPU, woken by its signal, from its CPU until the sleep is over, and hide what is to be seen.
    def _load(self, tracepoint: str) -> None:
        function = _tracepoint_function(tracepoint)
        if function in self.program.functions:
            with contextlib.suppress(Exception):  # bcc raises nothing more precise; `arm` says why
                self.program.load(function)

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

    def close(self) -> None:
        """Detaches, and unloads the program."""
        try:
            self.detach()
        finally:
            self.program.close()

    # In the three below: both ends of a function by one backend, so that a run seen to begin is seen to end.
    def _fentry(self, name: str) -> Probe:
        module: Any = self.program.module
        entry, end = self._fentry_name("kfunc__", name), self._fentry_name("kretfunc__", name)
        reason = self._try(
            (lambda: module.attach_kretfunc(fn_name=end), lambda: module.detach_kretfunc(fn_name=end)),
            (lambda: module.attach_kfunc(fn_name=entry), lambda: module.detach_kfunc(fn_name=entry)),
        )
        if reason is not None:
            raise _FentryRefusedError(name, reason)
        return Probe(name, FENTRY)

    def _kprobe(self, name: str) -> Probe:
        module: Any = self.program.module
        reason = self._try(
            (
                lambda: module.attach_kretprobe(event=name, fn_name=f"kretprobe__{name}"),
                lambda: module.detach_kretprobe(event=name),
            ),
            (
                lambda: module.attach_kprobe(event=name, fn_name=f"kprobe__{name}"),
                lambda: module.detach_kprobe(event=name),
            ),
        )
        return Probe(name, KPROBE, self._why[name]) if reason is None else Probe(name, "", reason)

    def _tracepoint(self, name: str) -> None:
        module: Any = self.program.module
        function = _tracepoint_function(name)
        reason: str | None = "this kernel does not have it now"
        if function in self.program.functions:
            reason = self._try(
                (
                    lambda: module.attach_tracepoint(tp=name, fn_name=function),
                    lambda: module.detach_tracepoint(tp=name),
                )
            )
        self.attached.append(Probe(name, "tracepoint") if reason is None else Probe(name, "", str(reason)))

    # Does all the attaching or none of it; the reason why not, or None.
    def _try(self, *pairs: tuple[Callable[[], object], Callable[[], None]]) -> str | None:
        done: list[Callable[[], None]] = []
        messages: list[str] = []
        try:
            with bcc.quiet() as messages:
                for attach, detach in pairs:
                    attach()
                    done.append(detach)
        except BaseException as error:  # bcc raises nothing more precise than Exception
            for detach in reversed(done):
                detach()
            if not isinstance(error, Exception):
                raise
            return next((line.strip() for line in messages if line.strip()), str(error))
        self._detachers += done
        return None

    # bcc writes kfunc__NAME up to 0.26 and kfunc__vmlinux__NAME later.
    def _fentry_name(self, prefix: str, name: str) -> str:
        names = (f"{prefix}vmlinux__{name}", f"{prefix}{name}")
        return next(candidate for candidate in names if candidate in self.program.functions)


def _tracepoint_function(name: str) -> str:
    return f"tracepoint__{name.replace(':', '__')}"


def _advice() -> str:
    if kernel.lockdown() not in ("none", "unknown"):
        return "the kernel is locked down; try with lockdown off"
    if os.geteuid() != 0:
        return "run it as root"
    return "the kernel must allow BPF tracing (CONFIG_BPF_EVENTS, CONFIG_KPROBES)"
