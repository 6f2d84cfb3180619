"""Collects a whole log: threads that took split locks, boots and modes, oopses, counts of lines."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sldtrace.host.vms.threads import vcpu_of
from sldtrace.kernlog import entry
from sldtrace.kernlog.entry import Entry
from sldtrace.kernlog.message import Instruction, Kernel, Mode, Oops, Option, Suppressed, Trap, Unknown
from sldtrace.kernlog.prefix import Stamp
from sldtrace.kernlog.stream import Readable, Tally, candidates

MOST_THREADS, MOST_BOOTS, MOST_OOPSES, MOST_ADDRESSES, MOST_SAMPLES = 20_000, 1_000, 100, 16, 5
_OOPS_LINES = 64  # after the oops line, within which its RIP line follows
_KERNEL_HALF = 1 << 63  # from here on no program of the host has an address
FATAL_KINDS = ("split-lock-fatal", "split-lock-bogus")
"""Printed by handle_guest_split_lock alone, with SIGBUS (arch/x86/kernel/cpu/bus_lock.c)."""


@dataclass
class Thread:
    """The lines of one thread: the same host, boot, kind, comm, TID and origin.

    comm is not escaped. addresses: lines that name each, at most MOST_ADDRESSES of them. first, last: by
    wall time where both lines have it, else in order of the lines. line: number of the first one.
    """

    host: str
    boot: int
    kind: str
    comm: bytes
    tid: int
    origin: str
    line: int
    first: Stamp
    last: Stamp
    lines: int = 0
    vm: str = ""  # the name of its VM if it still runs (running_vms.name_vms); not escaped
    addresses: Counter[int] = field(default_factory=Counter)

    @property
    def vcpu(self) -> int | None:
        """The vCPU's number by the thread's name, which is a hint only."""
        return vcpu_of(self.comm.decode("utf-8", "replace"))

    @property
    def guest(self) -> bool:
        """Is it a vCPU thread? By its name, by the line, or by an address in the kernel's half.

        At such an address the host's kernel would have had an oops, and a program of the host has none.
        """
        return (
            self.vcpu is not None
            or self.origin == "guest"
            or self.kind in FATAL_KINDS
            or any(address >= _KERNEL_HALF for address in self.addresses)
        )


@dataclass
class Boot:
    """One boot of one host; option: of split_lock_detect=. Nothing is escaped."""

    host: str
    id: str
    kernel: str = ""
    option: str = ""
    modes: list[Mode] = field(default_factory=list)


@dataclass
class KernelOops:
    """A split lock of the host's kernel; function: where, empty if the RIP line is missing."""

    host: str
    boot: int
    stamp: Stamp
    line: int
    function: str = ""


@dataclass
class Survey:
    """A whole log. Memory is bounded: what exceeds MOST_THREADS and so on is counted, not kept.

    matched: lines by class: trap, suppressed, mode, boot, oops, unknown (a message of split-lock detection in
    an unknown form), not_kernel (written by another program). All other lines are about something else.
    """

    tally: Tally = field(default_factory=Tally)
    matched: Counter[str] = field(default_factory=Counter)
    threads: dict[tuple[object, ...], Thread] = field(default_factory=dict)
    beyond: int = 0  # lines of traps of threads that are not in `threads`
    suppressed: Counter[str] = field(default_factory=Counter)
    boots: list[Boot] = field(default_factory=list)
    oopses: list[KernelOops] = field(default_factory=list)
    samples: list[bytes] = field(default_factory=list)  # of the unknown
    _current: dict[str, int] = field(default_factory=dict)  # the boot of each host

    @property
    def other(self) -> int:
        """How many lines are about something else."""
        return self.tally.lines - self.matched.total()

    @property
    def hosts(self) -> list[str]:
        """The hosts, not escaped; an empty name for lines that name none."""
        return list(dict.fromkeys(boot.host for boot in self.boots))

    def read(self, log: Readable) -> None:
        """Adds a log; several are read as one that continues. Raises what log.read raises."""
        for number, line in candidates(log, self.tally):
            if found := entry.parse(line):
                self._add(number, found)

    def traps(self) -> Iterator[Thread]:
        """The threads in order of their first line."""
        return iter(self.threads.values())

    def _add(self, number: int, found: Entry) -> None:
        match found.message:
            case Instruction(function):
                self._instruction(number, found, function)
            case _ if not found.kernel:
                self.matched["not_kernel"] += 1
            case Trap() as trap:
                self.matched["trap"] += 1
                self._trap(number, found, trap)
            case Suppressed(function, count):
                self.matched["suppressed"] += 1
                self.suppressed[function] += count
            case Kernel(release):
                self.matched["boot"] += 1
                # It is the first line of a boot.
                self._boot(found, new=True).kernel = release
            case Option(value):
                self.matched["boot"] += 1
                self._at(found).option = value
            case Mode() as mode:
                self.matched["mode"] += 1
                # The kernel logs it once a boot.
                boot = self._boot(found, new=mode in self._at(found).modes)
                boot.modes = [*boot.modes, mode] if mode not in boot.modes else boot.modes
            case Oops():
                self.matched["oops"] += 1
                if len(self.oopses) < MOST_OOPSES:
                    self.oopses.append(KernelOops(found.host, self._number(found), found.stamp, number))
            case Unknown(text):
                self.matched["unknown"] += 1
                if len(self.samples) < MOST_SAMPLES and text not in self.samples:
                    self.samples.append(text)

    def _instruction(self, number: int, found: Entry, function: str) -> None:
        last = self.oopses[-1] if self.oopses else None
        if last and not last.function and found.host == last.host and number - last.line <= _OOPS_LINES:
            last.function = function

    def _trap(self, number: int, found: Entry, trap: Trap) -> None:
        boot = self._number(found)
        key = (found.host, boot, trap.kind, trap.comm, trap.tid, trap.origin)
        thread = self.threads.get(key)
        if thread is None:
            if len(self.threads) >= MOST_THREADS:
                self.beyond += 1
                return
            who = (trap.kind, trap.comm, trap.tid, trap.origin)
            thread = Thread(found.host, boot, *who, number, found.stamp, found.stamp)
            self.threads[key] = thread
        thread.lines += 1
        if trap.address is not None and (
            trap.address in thread.addresses or len(thread.addresses) < MOST_ADDRESSES
        ):
            thread.addresses[trap.address] += 1
        if _earlier(found.stamp, thread.first):
            thread.first = found.stamp
        elif not _earlier(found.stamp, thread.last):
            thread.last = found.stamp

    def _number(self, found: Entry) -> int:
        self._at(found)
        return self._current[found.host]

    def _at(self, found: Entry) -> Boot:
        return self._boot(found, new=False)

    # The boot of a line: a new one if its id differs or, without an id, if the line begins one.
    def _boot(self, found: Entry, new: bool) -> Boot:
        new = new and not found.boot
        number = self._current.get(found.host)
        known = None if number is None else self.boots[number]
        if known and not new and found.boot in ("", known.id):
            return known
        if known and not new and not known.id:
            known.id = found.boot
            return known
        if known and len(self.boots) >= MOST_BOOTS:
            return known
        self.boots.append(Boot(found.host, found.boot))
        self._current[found.host] = len(self.boots) - 1
        return self.boots[-1]


def _earlier(one: Stamp, other: Stamp) -> bool:
    return one.wall_ns is not None and other.wall_ns is not None and one.wall_ns < other.wall_ns
