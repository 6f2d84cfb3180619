"""A kernel for the recorder: it takes the place of the loader and of the system calls that attach.

Program, Ring, Counters and Probes are the real ones, on maps that are memory files. One log notes, in order,
what is compiled, attached, detached, set and closed; each can be refused on demand.
"""

import os
import re
import signal
import threading
from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sldtrace.capture import privileges
from sldtrace.capture.bpf import bus_locks, counters, loader, probes, program, slots, syscalls
from sldtrace.capture.bpf.filters import Filters
from sldtrace.capture.bpf.loader import Loaded
from sldtrace.capture.bpf.program import RINGS, Program
from sldtrace.capture.bpf.ring import Ring
from sldtrace.capture.bpf.sources import Sizes
from sldtrace.capture.bpf.syscalls import Runs
from sldtrace.host.split_lock import SplitLock
from sldtrace.recording import schema
from tests.capture.memory import RingFile, table

FUNCTIONS = (
    "handle_bus_lock",
    *("down_interruptible", "msleep_interruptible", "handle_user_split_lock", "split_lock_warn"),
    "handle_guest_split_lock",
)
ENDS = {"split_lock_warn": [""], "handle_user_split_lock": ["ret"], "handle_guest_split_lock": ["ret"]}
"""Where not both ends are hooked, in the mode `warn`."""
KPROBED = ("synchronize_srcu_expedited", "synchronize_srcu")
"""Both have the programs of the last one."""
EARLY = (
    *("sched:sched_process_exit", "sched:sched_process_exec", "signal:signal_generate"),
    *KPROBED,
)
LATE = (
    *("kvm:kvm_entry", "kvm:kvm_exit", "kvm:kvm_userspace_exit", "msr:write_msr", "sched:sched_migrate_task"),
    *("lock:contention_end", "lock:contention_begin"),
)
"""Probes that wait for the first trap, in the order in which they are attached."""
DESCRIBED = {"signal:signal_generate", "sched:sched_migrate_task"}
"""Raw where BTF tells the layout of a task."""
RAW = {
    *("kvm:kvm_entry", "kvm:kvm_userspace_exit", "msr:write_msr"),
    *("lock:contention_end", "lock:contention_begin"),
    *("sched:sched_process_exit", "sched:sched_process_exec"),
    *DESCRIBED,
}
CPUS = 2

Log = list[tuple[str, str]]
Batch = np.ndarray | Callable[[], np.ndarray | None]


def programs(name: str, kprobe: bool = False, prefix: str = "vmlinux__", described: bool = True) -> list[str]:
    """The BPF functions of a probe, as bcc's macros name them, in the order in which they are attached."""
    category, colon, event = name.partition(":")
    if name in RAW and (described or name not in DESCRIBED):
        return [f"raw_tracepoint__{event}"]
    if colon:
        return [f"tracepoint__{category}__{event}"]
    if kprobe or name in KPROBED:
        return [f"k{end}probe__{name}" for end in ENDS.get(name, ["ret", ""])]
    return [f"k{end}func__{prefix}{name}" for end in ENDS.get(name, ["ret", ""])]


class Host:
    """What all programs of a test share.

    log: what was done, as (verb, target); refusals: the errno with which attaching a function fails; refused:
    functions that the kernel does not load, and why; lacks: probes whose source was left out, or tracepoints
    that there are none of; runs: of each function; batches: see `feed`; leftovers: links that are open;
    mode: of split-lock detection; described: is there BTF.
    """

    def __init__(self) -> None:
        self.log: Log = []
        self.refusals: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self.lacks: set[str] = set()
        self.filtered: dict[str, str] = {}
        self.kvm: list[tuple[int, str]] = []
        self.prefix = "vmlinux__"
        self.orders: list[tuple[Filters, str, Sizes, set[str]]] = []
        self.runs: dict[str, Runs] = {}
        self.links: dict[int, str] = {}
        self.filtered_tgids: list[int] = []
        self.freed: list[int] = []
        self.stats_allowed = True
        self.mode = "warn"
        self.described = True
        self.control: np.ndarray
        self.vcpus: np.ndarray
        self.bus_locks: np.ndarray
        self.followed: np.ndarray
        self._free_slots = -1
        self._event_counts: np.ndarray | None = None
        self._counted: dict[tuple[int, int], int] = {}
        self._batches: dict[str, list[Batch]] = {}
        self._rings: dict[int, tuple[str, RingFile]] = {}
        self._names: dict[int, str] = {}
        self._loaded: list[Loaded] = []

    # The test's side

    def end(self) -> None:
        """Closes what a test has left open."""
        for loaded in self._loaded:
            loaded.close()
        for link in self.links:
            os.close(link)

    def feed(self, **batches: list[Any]) -> None:
        """What each read of each ring finds; a batch that is a function is called for its effect first."""
        self._batches = {kind: list(given) for kind, given in batches.items()}

    def count(self, **counts: int) -> None:
        """Sets event_counts as `kind_CAUSE=count` (trap_NONE, task_RING_FULL), all on CPU 1."""
        numbers = schema.current()
        for name, count in counts.items():
            kind, _, cause = re.fullmatch(r"([a-z_]+)(_)([A-Z_]+)", name).groups()  # type: ignore[union-attr]
            place = numbers.records[kind].number, numbers.enums["lost_cause"].values[cause]
            self._counted[place] = count
            if self._event_counts is not None:
                self._event_counts[1, place[0], place[1]] = count

    def control_value(self, name: str) -> int:
        """An entry of enum sld_control, as the probes see it."""
        return int(self.control[schema.enumeration("control").values[name]])

    def done(self, verb: str) -> list[str]:
        """The targets of that verb in the log, in order."""
        return [target for entry, target in self.log if entry == verb]

    def attached(self) -> set[str]:
        """The functions that are attached now."""
        return set(self.links.values())

    # The kernel's side

    def load(
        self,
        filters: Filters,
        exits: str,
        sizes: Sizes,
        kprobes: Collection[str],
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Loaded:
        """Takes the place of loader.load."""
        # One for each function that refuses fentry, and the last: more would never end.
        assert len(self.done("compile")) <= len(FUNCTIONS), "compiled again and again"
        if interrupted():
            raise KeyboardInterrupt
        self.orders.append((filters, exits, sizes, set(kprobes)))
        self.log.append(("compile", " ".join(sorted(kprobes))))
        functions = [
            function
            for name in (*EARLY, *FUNCTIONS, *LATE)
            if name not in self.lacks and name != KPROBED[0]
            for function in programs(name, name in kprobes, self.prefix, self.described)
        ]
        # Loaded, and attached where split_lock_warn does not begin all runs.
        guest = FUNCTIONS[-1]
        functions.append(f"kprobe__{guest}" if guest in kprobes else f"kfunc__{self.prefix}{guest}")
        loaded = {name: os.memfd_create("program") for name in functions if name not in self.refused}
        self._names.update({descriptor: name for name, descriptor in loaded.items()})
        self._loaded.append(
            Loaded(self._maps(sizes), loaded, dict(self.refused), dict(self.filtered), self.kvm)
        )
        return self._loaded[-1]

    def _maps(self, sizes: Sizes) -> dict[str, int]:
        counts, control = schema.enumeration("event_counts").values, schema.enumeration("control").values
        maps = {}
        maps["event_counts"], memory = table("<u8", CPUS * counts["KINDS"] * counts["CAUSES"])
        self._event_counts = memory.reshape(CPUS, counts["KINDS"], counts["CAUSES"])
        for (kind, cause), count in self._counted.items():
            self._event_counts[1, kind, cause] = count
        maps["controls"], self.control = table("<u8", len(control))
        maps["vcpus"], self.vcpus = table(counters.VCPU, slots.count() + 1)
        maps["followed"], self.followed = table("<u8", slots.count() + 1)
        if "handle_bus_lock" not in self.lacks:
            maps["bus_locks"], self.bus_locks = table(bus_locks.COUNTER, bus_locks.COUNTERS)
            maps["free_bus_locks"] = os.memfd_create("free_bus_locks")
        maps["free_slots"] = self._free_slots = os.memfd_create("free_slots")
        maps["filtered"] = os.memfd_create("filtered")
        for record, name in RINGS.items():
            if record in ("exit", "user_exit") and "kvm:kvm_exit" in self.lacks:
                continue
            ring = RingFile(sizes.pages(record) * 4096, schema.current().records[record].dtype.itemsize)
            maps[name] = ring.fd
            self._rings[ring.fd] = record, ring
        return maps

    def produce(self, descriptor: int) -> None:
        """Before a ring is read: puts the next batch there."""
        kind, ring = self._rings[descriptor]
        batches = self._batches.get(kind)
        if batches:
            batch = batches.pop(0)
            records = batch() if callable(batch) else batch
            for record in () if records is None else records:
                ring.reserve(record.tobytes())

    def _attach(self, descriptor: int, kinds: tuple[str, ...], name: str | None = None) -> int:
        function = name or self._names[descriptor]
        assert function.startswith(kinds), f"{function} is not attached so"
        if function in self.refusals:
            raise OSError(self.refusals[function], os.strerror(self.refusals[function]))
        link = os.memfd_create("link")
        self.links[link] = function
        self.log.append(("attach", function))
        return link

    def attach_traced(self, descriptor: int, name: str | None = None) -> int:
        """Takes the place of the system call."""
        if name is None:
            return self._attach(descriptor, ("kfunc__", "kretfunc__"))
        assert self._names[descriptor] == f"raw_tracepoint__{name}"
        return self._attach(descriptor, ("raw_tracepoint__",))

    def identifier(self, name: str) -> int | None:
        """The id of a tracepoint: its place in our lists."""
        done = [verb for verb, _ in self.log]
        assert "drop" not in done[len(done) - done[::-1].index("compile") :], (
            "without capabilities tracefs is closed"
        )
        return None if name in self.lacks else (*EARLY, *LATE).index(name)

    def attach_tracepoint(self, descriptor: int, identifier: int) -> int:
        """Takes the place of the system call."""
        name = (*EARLY, *LATE)[identifier]
        assert [self._names[descriptor]] == programs(name, described=self.described)
        return self._attach(descriptor, ("tracepoint__",))

    def attach_kprobe(self, descriptor: int, function: str, at_return: bool) -> int:
        """Takes the place of the system call."""
        kind = "kretprobe" if at_return else "kprobe"
        assert self._names[descriptor] == f"{kind}__{KPROBED[-1] if function in KPROBED else function}"
        return self._attach(descriptor, ("kprobe__", "kretprobe__"), f"{kind}__{function}")

    def close(self, descriptor: int) -> None:
        """Takes the place of os.close where links are closed."""
        os.close(descriptor)
        self.log.append(("detach", self.links.pop(descriptor)))

    def program_runs(self, descriptor: int) -> Runs:
        """Takes the place of the system call."""
        return self.runs.get(self._names[descriptor], Runs(0, 0))

    def enable_stats(self) -> int:
        """Takes the place of the system call."""
        if not self.stats_allowed:
            raise PermissionError(1, "Operation not permitted")
        return os.memfd_create("stats")

    def map_update(self, descriptor: int, key: bytes, value: bytes) -> None:
        """The map `filtered`."""
        assert value == b"\1"
        self.filtered_tgids.append(int.from_bytes(key, "little"))

    def map_push(self, descriptor: int, value: bytes) -> None:
        """The maps `free_slots` and `free_bus_locks`."""
        if descriptor == self._free_slots:
            self.freed.append(int.from_bytes(value, "little"))


def no_event_counts() -> np.ndarray:
    """The event_counts of a program that saw nothing, shape (kinds, causes, CPUs)."""
    sizes = schema.enumeration("event_counts").values
    return np.zeros((sizes["KINDS"], sizes["CAUSES"], CPUS), np.uint64)


def stop(number: signal.Signals = signal.SIGINT) -> None:
    """Sends a stop signal to this thread, as Ctrl-C would."""
    signal.pthread_kill(threading.get_ident(), number)


def install(monkeypatch: pytest.MonkeyPatch) -> Host:
    """A fake kernel in the place of this one; its BTF has all functions. The process keeps its rights."""
    host = Host()

    class FedRing(Ring):
        def __init__(self, fd: int, size: int, dtype: "np.dtype[Any]") -> None:
            super().__init__(fd, size, dtype)
            self._fd = fd

        def read(self) -> np.ndarray:
            host.produce(self._fd)
            return super().read()

    set_control, close, event_counts = Program.set_control, Program.close, Program.event_counts

    def noted_set_control(self: Program, name: str, value: int) -> None:
        host.log.append((f"control {name}", str(value) if value < 1000 else "time"))
        set_control(self, name, value)

    def noted_close(self: Program) -> None:
        host.log.append(("close", ""))
        close(self)

    def noted_event_counts(self: Program) -> np.ndarray:
        host.log.append(("event_counts", ""))
        return event_counts(self)

    monkeypatch.setattr(Program, "set_control", noted_set_control)
    monkeypatch.setattr(Program, "close", noted_close)
    monkeypatch.setattr(Program, "event_counts", noted_event_counts)
    monkeypatch.setattr(program, "Ring", FedRing)
    monkeypatch.setattr("sldtrace.capture.bpf.program.kernel.possible_cpus", lambda: CPUS)
    monkeypatch.setattr(loader, "load", host.load)
    monkeypatch.setattr(
        "sldtrace.capture.bpf.probes.split_lock.read", lambda: SplitLock(host.mode, True, False, 1)
    )
    monkeypatch.setattr(probes, "os", SimpleNamespace(close=host.close, geteuid=os.geteuid))
    monkeypatch.setattr("sldtrace.capture.bpf.probes.tracepoints.identifier", host.identifier)
    monkeypatch.setattr("sldtrace.capture.bpf.probes.btf.names", lambda names: set(names))
    monkeypatch.setattr("sldtrace.capture.bpf.probes.kernel.lockdown", lambda: "none")
    monkeypatch.setattr(privileges, "drop", lambda *_: host.log.append(("drop", "")))
    calls = ("attach_traced", "attach_tracepoint", "attach_kprobe", "program_runs")
    for name in (*calls, "enable_stats", "map_update", "map_push"):
        monkeypatch.setattr(syscalls, name, getattr(host, name))
    return host
