"""Attaches the probes: functions by fentry/fexit where that works, else by kprobes, and tracepoints."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from sldtrace import diagnostics
from sldtrace.capture.bpf import loader, syscalls
from sldtrace.capture.bpf.filters import Filters
from sldtrace.capture.bpf.program import Program
from sldtrace.capture.bpf.sources import Sizes
from sldtrace.errors import SldtraceError
from sldtrace.host import btf, kallsyms, kernel, split_lock, tracepoints

_log = logging.getLogger(__name__)

FENTRY = "fentry"
KPROBE = "kprobe"
TRACEPOINT = "tracepoint"
RAW_TRACEPOINT = "raw_tracepoint"

# Inner functions first: of a trap whose start is seen, everything is seen.
_FUNCTIONS = (kallsyms.BUS_LOCK, *kallsyms.WATCHED)
# Which ends are hooked; of the others both. A trap starts in split_lock_warn and ends in one of its callers.
_ENDS = {"split_lock_warn": ("",), "handle_user_split_lock": ("ret",), "handle_guest_split_lock": ("ret",)}
_BOTH = ("ret", "")
_REQUIRED = frozenset({"handle_guest_split_lock", "msleep_interruptible"})
_TRACEPOINTS = ("sched:sched_process_exit", "sched:sched_process_exec", "signal:signal_generate")

# Called rarely, so a kprobe is enough; attaching one takes milliseconds, so it is done at the start. Both
# get the programs of the last one.
_KPROBED = ("synchronize_srcu_expedited", "synchronize_srcu")

# The late probes fire on every VM exit, MSR write, migration. For counts the first are enough; the last are
# about traps only.
LATE_COUNTS = ("kvm:kvm_entry", "kvm:kvm_exit")
LATE_TRAPS = ("msr:write_msr", "sched:sched_migrate_task", "lock:contention_end", "lock:contention_begin")
LATE = (*LATE_COUNTS, "kvm:kvm_userspace_exit", *LATE_TRAPS)
_ATTACH_PAUSE_S = 0.002
# A raw tracepoint costs a third, and is not skipped inside another program, but has no fields. Two more are
# raw where BTF has the layout of a task (see sources.layout).
_RAW = frozenset(
    {
        "kvm:kvm_entry",
        "kvm:kvm_userspace_exit",
        "msr:write_msr",
        "lock:contention_begin",
        "lock:contention_end",
        "sched:sched_process_exec",
        "sched:sched_process_exit",
    }
)

# The file with the programs of a probe, by name or category, for the reason why they are missing.
_FILES = {
    "kvm": "vcpu.bpf.c",
    "msr": "detection.bpf.c",
    "signal": "signal.bpf.c",
    "lock": "stall.bpf.c",
    "sched:sched_migrate_task": "migrate.bpf.c",
    "sched:sched_process_exec": "end.bpf.c",
    "sched:sched_process_exit": "end.bpf.c",
    **dict.fromkeys(_KPROBED, "stall.bpf.c"),
    kallsyms.BUS_LOCK: "bus_lock.bpf.c",
}


@dataclass(frozen=True)
class Probe:
    """The state of one probe, as in the facts of the recording.

    name: function or category:tracepoint; backend: fentry, kprobe, tracepoint, raw_tracepoint, or empty if
    it is not attached; detail: why it is not, or not by fentry.
    """

    name: str
    backend: str
    detail: str = ""

    def fact(self) -> dict[str, str]:
        """The probe as JSON values."""
        return asdict(self)

    @property
    def warning(self) -> str | None:
        """A line for the user if it is not attached."""
        return None if self.backend else f"warning: {self.name} is not attached: {self.detail}"


class _FentryRefusedError(Exception):
    def __init__(self, function: str, reason: str) -> None:
        super().__init__(reason)
        self.function = function


def load(
    filters: Filters,
    exits: str,
    sizes: Sizes,
    force: str | None,
    interrupted: Callable[[], bool] = lambda: False,
) -> "Probes":
    """Compiles, loads, and attaches the early probes; `force` allows one backend only (for tests).

    A kernel may refuse fentry for a function that is in its BTF (no direct calls, a cloned static function);
    then the program is compiled again with a kprobe for that function. Raises SldtraceError if it cannot be
    compiled, or if a required probe cannot be attached; for `interrupted` see loader.load.
    """
    why = _without_fentry(force)
    while True:
        with diagnostics.phase(_log, "compile and load the probes"):
            loaded = loader.load(filters, exits, sizes, why.keys(), interrupted)
        try:
            probes = Probes(Program(loaded, sizes), why)
        except BaseException:
            loaded.close()
            raise
        try:
            with diagnostics.phase(_log, "attach the probes"):
                probes.attach()
            _log_probes(probes.attached)
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


def _log_probes(probes: list[Probe]) -> None:
    for probe in probes:
        detail = f" ({probe.detail})" if probe.detail else ""
        _log.info("%s: %s%s", probe.name, probe.backend or "not attached", detail)


def _without_fentry(force: str | None) -> dict[str, str]:
    if force == FENTRY:
        return {}
    if force == KPROBE:
        return dict.fromkeys(_FUNCTIONS, "asked for")
    described = btf.names(_FUNCTIONS)
    return {name: "fentry: not in the kernel's BTF" for name in _FUNCTIONS if name not in described}


class Probes:
    """The probes of one program; `load` makes it, `arm` and `disarm` the late ones, `close` in the end."""

    def __init__(self, program: Program, why: dict[str, str]) -> None:
        """why: the functions that get a kprobe, and the reason."""
        self.program = program
        self._why = why
        self._early: list[Probe] = []
        self._late: list[Probe] = []
        self._links: list[int] = []
        self._late_links: list[int] = []
        # Looked up before the capabilities are dropped, which may be needed to read tracefs.
        names = [name for name in (*_TRACEPOINTS, *LATE) if name not in _RAW]
        self._identifiers = {name: tracepoints.identifier(name) for name in names}

    @property
    def attached(self) -> list[Probe]:
        """The probes so far, in the order in which they were attached."""
        return [*self._early, *self._late]

    @property
    def count(self) -> int:
        """How many programs are attached."""
        return len(self._links) + len(self._late_links)

    def attach(self) -> None:
        """Attaches the early probes; use `load`."""
        self._early += [self._tracepoint(name, self._links) for name in _TRACEPOINTS]
        self._early += [self._function(name, self._links, _BOTH) for name in _KPROBED]
        for name in _FUNCTIONS:
            # A kernel that does not have it detects no bus locks, so nothing is missing.
            if name == kallsyms.BUS_LOCK and _FILES[name] in self.program.filtered:
                continue
            probe = self._function(name, self._links, _ENDS.get(name, _BOTH))
            if probe.backend and name == "handle_guest_split_lock" and not self._warn_starts_all_traps():
                probe = self._function(name, self._links, ("",))
            self._early.append(probe)
            if not probe.backend and name in _REQUIRED:
                raise SldtraceError(f"{name} cannot be probed: {probe.detail}", _advice())

    def arm(self, names: Sequence[str] = LATE) -> list[Probe]:
        """Attaches those of these late probes that are not, and returns their state.

        It sleeps in between: a penalized vCPU that has to wait for the CPU after its signal completes its
        penalty, which would hide an early-return loop.
        """
        if not self._late_links:
            self._late = []
        added = []
        for name in names:
            if name in (probe.name for probe in self._late):
                continue
            added.append(self._tracepoint(name, self._late_links))
            time.sleep(_ATTACH_PAUSE_S)
        self._late += added
        _log_probes(added)
        return added

    def disarm(self) -> None:
        """Detaches the late probes."""
        _close(self._late_links)

    def detach(self) -> None:
        """Detaches all probes, outer functions first."""
        _close(self._late_links)
        _close(self._links)

    def close(self) -> None:
        """Detaches, and unloads the program."""
        try:
            self.detach()
        finally:
            self.program.close()

    # In the mode fatal a guest's trap does not call split_lock_warn; and a compiler may have inlined it.
    def _warn_starts_all_traps(self) -> bool:
        hooked = any(probe.name == "split_lock_warn" and probe.backend for probe in self._early)
        return hooked and split_lock.read().mode == "warn"

    # Both ends of a function by one backend, the return first, so that the end of each trap is seen.
    def _function(self, name: str, links: list[int], ends: tuple[str, ...]) -> Probe:
        if name in self._why or name in _KPROBED:
            program = _KPROBED[-1] if name in _KPROBED else name
            reason = self._try(
                name,
                links,
                tuple(f"k{end}probe__{program}" for end in ends),
                lambda one, function: syscalls.attach_kprobe(one, name, function.startswith("kret")),
            )
            why = self._why.get(name, "")
            return Probe(name, KPROBE, why) if reason is None else Probe(name, "", reason)
        functions = tuple(self._fentry_name(f"k{end}func__", name) for end in ends)
        reason = self._try(name, links, functions, lambda one, _: syscalls.attach_traced(one))
        if reason is not None:
            raise _FentryRefusedError(name, reason)
        return Probe(name, FENTRY)

    def _tracepoint(self, name: str, links: list[int]) -> Probe:
        category, _, event = name.partition(":")
        raw = f"raw_tracepoint__{event}"
        if name in _RAW or raw in self.program.functions or raw in self.program.refused:
            reason = self._try(name, links, (raw,), lambda one, _: syscalls.attach_traced(one, event))
            return Probe(name, RAW_TRACEPOINT) if reason is None else Probe(name, "", reason)
        number = self._identifiers[name]
        if number is None:
            return Probe(name, "", "this kernel does not have it now")
        functions = (f"tracepoint__{category}__{event}",)
        reason = self._try(name, links, functions, lambda one, _: syscalls.attach_tracepoint(one, number))
        return Probe(name, TRACEPOINT) if reason is None else Probe(name, "", reason)

    # Attaches the programs of a probe, all or none; returns the reason if it cannot.
    def _try(
        self, name: str, links: list[int], functions: tuple[str, ...], attach: Callable[[int, str], int]
    ) -> str | None:
        done: list[int] = []
        for function in functions:
            if function not in self.program.functions:
                _close(done)
                file = _FILES.get(name) or _FILES.get(name.partition(":")[0], "")
                filtered = self.program.filtered.get(file, "this kernel does not have it now")
                return self.program.refused.get(function, filtered)
            try:
                done.append(attach(self.program.functions[function], function))
            except OSError as error:
                _close(done)
                return str(error.strerror)
        links += done
        return None

    # bcc puts the name of the module in between from version 0.29 on.
    def _fentry_name(self, prefix: str, function: str) -> str:
        known = (*self.program.functions, *self.program.refused)
        names = (f"{prefix}vmlinux__{function}", f"{prefix}{function}")
        return next((name for name in names if name in known), names[0])


def _close(links: list[int]) -> None:
    while links:
        os.close(links.pop())


def _advice() -> str:
    if kernel.lockdown() in ("integrity", "confidentiality"):
        return "the kernel is locked down; boot with lockdown off; sldtrace check lists all requirements"
    if os.geteuid() != 0:
        return "run it as root"
    needed = "the kernel must allow BPF tracing (CONFIG_BPF_EVENTS, CONFIG_KPROBES)"
    return f"{needed}; sldtrace check lists all requirements"
