"""Collects whole logs: threads that took split locks, boots and modes, oopses, counts of what was read."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sldtrace.host.vms.threads import vcpu_of
from sldtrace.kernlog import attribution
from sldtrace.kernlog.attribution import EITHER, GUEST, Attribution
from sldtrace.kernlog.entry import Blob, Entry, NewBoot, Parser
from sldtrace.kernlog.message import Hypervisor, Kernel, Mode, Oops, Option, Suppressed, Trap, Unknown
from sldtrace.kernlog.prefix import Stamp
from sldtrace.kernlog.stream import Tally, candidates
from sldtrace.kernlog.unpack import Readable

MOST_THREADS, MOST_BOOTS, MOST_OOPSES, MOST_ADDRESSES, MOST_SAMPLES = 20_000, 1_000, 100, 16, 5


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
    in_guest: bool = False  # the log is that of a guest's kernel
    lines: int = 0
    vm: str = ""  # the name of its VM if it still runs (running_vms.name_vms); not escaped
    addresses: Counter[int] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """comm as text; not escaped."""
        return self.comm.decode("utf-8", "backslashreplace")

    @property
    def vcpu(self) -> int | None:
        """The vCPU's number by the thread's name, which is a hint only."""
        return vcpu_of(self.name)

    @property
    def attribution(self) -> Attribution:
        """Whose instruction it was."""
        return attribution.attribute(
            self.kind, self.name, self.origin, list(self.addresses), in_guest=self.in_guest
        )

    @property
    def guest(self) -> bool:
        """Was it an instruction of a guest, or may it have been?"""
        return self.attribution.who in (GUEST, EITHER)


@dataclass
class Boot:
    """One boot of one host; option: of split_lock_detect=. Nothing is escaped.

    host: also the name of a file in front of the lines, where they have no host. mitigate_option: the
    kernel's command line has split_lock_mitigate, which is a sysctl. hypervisor: that the kernel runs under.
    """

    host: str
    id: str
    kernel: str = ""
    option: str = ""
    mitigate_option: bool = False
    hypervisor: str = ""
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
    """Whole logs. Memory is bounded: what exceeds MOST_THREADS and so on is counted, not kept.

    matched: messages by class: trap, suppressed, mode, boot, hypervisor, oops, unknown (text of split-lock
    detection that is not understood), not_kernel (written by another program), blob (not shown by
    journalctl). matched_lines: lines with at least one of them. forms: messages by the kind of line.
    timeless: lines of traps without any time; no_address: without a whole address.
    """

    tally: Tally = field(default_factory=Tally)
    matched: Counter[str] = field(default_factory=Counter)
    matched_lines: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    timeless: int = 0
    no_address: int = 0
    threads: dict[tuple[object, ...], Thread] = field(default_factory=dict)
    beyond: int = 0  # lines of traps of threads that are not in `threads`
    suppressed: Counter[str] = field(default_factory=Counter)
    suppressed_last: dict[str, Stamp] = field(default_factory=dict)
    boots: list[Boot] = field(default_factory=list)
    oopses: list[KernelOops] = field(default_factory=list)
    samples: list[bytes] = field(default_factory=list)  # of the unknown
    _current: dict[str, int] = field(default_factory=dict)  # the boot of each host
    _next_id: str = ""  # of a boot that a line of journalctl begins
    _last_ns: int | None = None  # since boot, of lines without a host
    _continued: bool = True  # False: the next such line is the first of another log

    @property
    def other(self) -> int:
        """How many lines are about something else."""
        return self.tally.lines - self.matched_lines

    @property
    def hosts(self) -> list[str]:
        """The hosts, not escaped; an empty name for lines that name none."""
        return list(dict.fromkeys(boot.host for boot in self.boots))

    @property
    def not_understood(self) -> int:
        """Messages that look like those of split-lock detection, and of which nothing is known."""
        return self.matched["unknown"] + self.matched["blob"]

    def read(self, log: Readable) -> None:
        """Adds a log; several are read as one that continues. Raises what log.read raises."""
        parser = Parser()
        self._continued = False
        for line in candidates(log, self.tally):
            found, taken = parser.entries(line)
            self.matched_lines += bool(found) + taken
            for each in found:
                self._add(line.number, each)

    def traps(self) -> Iterator[Thread]:
        """The threads in order of their first line."""
        return iter(self.threads.values())

    def _add(self, number: int, found: Entry) -> None:
        if isinstance(found.message, NewBoot):
            self._current.clear()
            self._next_id = found.message.id
            return
        if not found.kernel:
            self.matched["not_kernel"] += 1
            return
        if found.form:
            self.forms[found.form] += 1
        self._follow(found)
        match found.message:
            case Trap() as trap:
                self.matched["trap"] += 1
                self._trap(number, found, trap)
            case Suppressed(function, count):
                self.matched["suppressed"] += 1
                self.suppressed[function] += count * found.count
                self.suppressed_last[function] = found.stamp
                self._at(found)
            case Kernel(release):
                self.matched["boot"] += 1
                # It is the first line of a boot.
                self._boot(found, new=True).kernel = release
            case Option(value, mitigate):
                self.matched["boot"] += 1
                boot = self._at(found)
                boot.option, boot.mitigate_option = value or boot.option, boot.mitigate_option or mitigate
            case Hypervisor(name):
                self.matched["hypervisor"] += 1
                self._at(found).hypervisor = name
                number = self._number(found)
                for thread in self.threads.values():
                    thread.in_guest = thread.in_guest or thread.boot == number
            case Mode() as mode:
                self.matched["mode"] += 1
                # The kernel logs it once a boot.
                boot = self._boot(found, new=mode in self._at(found).modes)
                boot.modes = [*boot.modes, mode] if mode not in boot.modes else boot.modes
            case Oops():
                self.matched["oops"] += 1
                if len(self.oopses) < MOST_OOPSES:
                    where = self._number(found)
                    self.oopses.append(
                        KernelOops(self.boots[where].host, where, found.stamp, number, found.function)
                    )
            case Unknown(text):
                self.matched["unknown"] += 1
                if len(self.samples) < MOST_SAMPLES and text not in self.samples:
                    self.samples.append(text)
            case Blob():
                self.matched["blob"] += 1

    def _trap(self, number: int, found: Entry, trap: Trap) -> None:
        self.timeless += not found.stamp.text and found.stamp.boot_ns is None
        self.no_address += trap.address is None and not trap.kind.endswith("-call")
        boot = self._number(found)
        key = (self.boots[boot].host, boot, trap.kind, trap.comm, trap.tid, trap.origin)
        thread = self.threads.get(key)
        if thread is None:
            if len(self.threads) >= MOST_THREADS:
                self.beyond += found.count
                return
            who = (trap.kind, trap.comm, trap.tid, trap.origin)
            in_guest = bool(self.boots[boot].hypervisor)
            thread = Thread(self.boots[boot].host, boot, *who, number, found.stamp, found.stamp, in_guest)
            self.threads[key] = thread
        thread.lines += found.count
        if trap.address is not None and (
            trap.address in thread.addresses or len(thread.addresses) < MOST_ADDRESSES
        ):
            thread.addresses[trap.address] += found.count
        if _earlier(found.stamp, thread.first):
            thread.first = found.stamp
        elif not _earlier(found.stamp, thread.last):
            thread.last = found.stamp

    # Lines without a host in another file are of another boot if their time since boot goes back.
    def _follow(self, found: Entry) -> None:
        ns = found.stamp.boot_ns
        if found.host or ns is None:
            return
        if not self._continued and self._last_ns is not None and ns < self._last_ns:
            self._current.pop(_place(found), None)
        self._continued, self._last_ns = True, ns

    def _number(self, found: Entry) -> int:
        self._at(found)
        return self._current[_place(found)]

    def _at(self, found: Entry) -> Boot:
        return self._boot(found, new=False)

    # The boot of a line: a new one if its id differs or, without an id, if the line begins one.
    def _boot(self, found: Entry, new: bool) -> Boot:
        new = new and not found.boot
        place = _place(found)
        number = self._current.get(place)
        known = None if number is None else self.boots[number]
        if known and not new and found.boot in ("", known.id):
            return known
        if known and not new and not known.id:
            known.id = found.boot
            return known
        if known and len(self.boots) >= MOST_BOOTS:
            return known
        self.boots.append(Boot(place, found.boot or self._next_id))
        self._current[place] = len(self.boots) - 1
        return self.boots[-1]


def _place(found: Entry) -> str:
    return found.host or found.file


def _earlier(one: Stamp, other: Stamp) -> bool:
    return one.wall_ns is not None and other.wall_ns is not None and one.wall_ns < other.wall_ns
