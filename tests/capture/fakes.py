"""Stand-ins for the compiled program: they note what is asked of them in one log, and refuse on demand."""

import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from sldtrace.capture import probes
from sldtrace.capture.program import Sizes
from sldtrace.recording import schema

FUNCTIONS = ("down_interruptible", "msleep_interruptible", "split_lock_warn", "handle_guest_split_lock")
EARLY_TRACEPOINTS = ("sched:sched_process_exit", "signal:signal_generate")
LATE_TRACEPOINTS = ("kvm:kvm_entry", "kvm:kvm_exit", "msr:write_msr")

Log = list[tuple[str, str]]


class FakeModule:
    """bcc's BPF object, as far as probes.py uses it.

    refusals: what is refused, as `method target` (`kfunc down_interruptible`, `tracepoint kvm:kvm_exit`), and
    what libbcc then writes to file descriptor 2 (not to sys.stderr) before bcc raises.
    """

    def __init__(self, log: Log, refusals: dict[str, str]) -> None:
        self.log = log
        self._refusals = refusals

    def _attach(self, what: str, target: str) -> None:
        said = self._refusals.get(f"{what} {target}")
        if said is not None:
            os.write(2, said.encode())
            raise Exception(f"Failed to attach BPF program to {what} {target}")
        self.log.append((f"attach {what}", target))

    def attach_kfunc(self, fn_name: str) -> None:
        self._attach("kfunc", fn_name.removeprefix("kfunc__").removeprefix("vmlinux__"))

    def attach_kretfunc(self, fn_name: str) -> None:
        self._attach("kretfunc", fn_name.removeprefix("kretfunc__").removeprefix("vmlinux__"))

    def attach_kprobe(self, event: str, fn_name: str) -> None:
        assert fn_name == f"kprobe__{event}"
        self._attach("kprobe", event)

    def attach_kretprobe(self, event: str, fn_name: str) -> None:
        assert fn_name == f"kretprobe__{event}"
        self._attach("kretprobe", event)

    def attach_tracepoint(self, tp: str, fn_name: str) -> None:
        assert fn_name == "tracepoint__" + tp.replace(":", "__")
        self._attach("tracepoint", tp)

    def detach_kfunc(self, fn_name: str) -> None:
        self.log.append(("detach kfunc", fn_name.removeprefix("kfunc__").removeprefix("vmlinux__")))

    def detach_kretfunc(self, fn_name: str) -> None:
        self.log.append(("detach kretfunc", fn_name.removeprefix("kretfunc__").removeprefix("vmlinux__")))

    def detach_kprobe(self, event: str) -> None:
        self.log.append(("detach kprobe", event))

    def detach_kretprobe(self, event: str) -> None:
        self.log.append(("detach kretprobe", event))

    def detach_tracepoint(self, tp: str) -> None:
        self.log.append(("detach tracepoint", tp))


class FakeRing:
    """A ring that gives out one batch a read; a batch that is a function is called for its effect first."""

    def __init__(self, kind: str, batches: Iterable["np.ndarray | Callable[[], np.ndarray | None]"]) -> None:
        self._empty = np.empty(0, schema.current().records[kind].dtype)
        self._batches = list(batches)

    def read(self) -> np.ndarray:
        if not self._batches:
            return self._empty
        batch = self._batches.pop(0)
        records = batch() if callable(batch) else batch
        return self._empty if records is None else records


class Host:
    """What all programs of a test share: the log, what is refused, what the rings and counters hold."""

    def __init__(self) -> None:
        self.log: Log = []
        self.refusals: dict[str, str] = {}
        self.unloadable: set[str] = set()
        self.tracepoints: set[str] = {*EARLY_TRACEPOINTS, *LATE_TRACEPOINTS}
        self.prefix = "vmlinux__"
        self.programs: list[FakeProgram] = []
        self.rings: dict[str, FakeRing] = {}
        self.counters: Callable[[], np.ndarray] = no_tallies
        self.skips: dict[str, int] = {}

    def program(self, tgid: int | None, sizes: Sizes, kprobes: Collection[str]) -> "FakeProgram":
        """Takes the place of the class Program."""
        # One for each function that refuses fentry, and the last: more would never end.
        assert len(self.programs) <= len(FUNCTIONS), "compiled again and again"
        made = FakeProgram(self, tgid, sizes, kprobes)
        self.programs.append(made)
        return made

    def done(self, what: str) -> list[str]:
        """The targets of that entry of the log, in order."""
        return [target for entry, target in self.log if entry == what]

    def left_attached(self) -> set[tuple[str, str]]:
        """What was attached and not detached afterwards."""
        left = set()
        for entry, target in self.log:
            verb, _, what = entry.partition(" ")
            if verb == "attach":
                left.add((what, target))
            elif verb == "detach":
                left.remove((what, target))
        return left


class FakeProgram:
    """The compiled module: its functions are those that bcc would make of the sources."""

    def __init__(self, host: Host, tgid: int | None, sizes: Sizes, kprobes: Collection[str]) -> None:
        self.tgid, self.sizes, self.kprobes = tgid, sizes, frozenset(kprobes)
        self._host = host
        self.module = FakeModule(host.log, host.refusals)
        names = [f"tracepoint__{name.replace(':', '__')}" for name in host.tracepoints]
        for name in FUNCTIONS:
            if name in self.kprobes:
                names += [f"kprobe__{name}", f"kretprobe__{name}"]
            else:
                names += [f"kfunc__{host.prefix}{name}", f"kretfunc__{host.prefix}{name}"]
        self.functions = frozenset(names)
        host.log.append(("compile", " ".join(sorted(self.kprobes))))

    def load(self, function: str) -> None:
        if function in self._host.unloadable:
            raise Exception("Failed to load BPF program")
        self._host.log.append(("load", function.removeprefix("tracepoint__").replace("__", ":", 1)))

    def ring(self, kind: str) -> FakeRing | None:
        return self._host.rings.get(kind)

    def tell(self, name: str, value: int) -> None:
        self._host.log.append((f"tell {name}", "0" if value == 0 else "time"))

    def tallies(self) -> np.ndarray:
        self._host.log.append(("tallies", ""))
        return self._host.counters()

    def skipped(self) -> dict[str, int]:
        return dict(self._host.skips)

    def close(self) -> None:
        self._host.log.append(("close", ""))


def no_tallies() -> np.ndarray:
    """The counters of a program that saw nothing, on two CPUs."""
    sizes = schema.enumeration("tallies").values
    return np.zeros((sizes["KINDS"], sizes["CAUSES"], 2), np.uint64)


def tallies(**counts: int) -> np.ndarray:
    """Counters as `kind_CAUSE=count` (trap_NOTHING, task_RING_FULL), all on CPU 1."""
    table = no_tallies()
    for name, count in counts.items():
        kind, _, cause = name.partition("_")
        numbers = schema.current()
        table[numbers.records[kind].number, numbers.enums["lost_cause"].values[cause], 1] = count
    return table


def stop(number: signal.Signals = signal.SIGINT) -> None:
    """Sends a stop signal to this thread, as Ctrl-C would."""
    signal.pthread_kill(threading.get_ident(), number)


def install(monkeypatch: Any) -> Host:
    """Puts fake programs in the place of compiled ones; the kernel's BTF has all functions."""
    host = Host()
    monkeypatch.setattr(probes, "Program", host.program)
    monkeypatch.setattr(probes.kernel, "in_btf", lambda names: set(names))
    monkeypatch.setattr(probes.kernel, "lockdown", lambda: "none")
    return host
