"""What is kept of a host's recordings, and how the summaries of many hosts are merged.

A summary is plain data: it can be pickled, and written as JSON. `merge` is associative and commutative for
summaries of different hosts, so it does not matter which process merges which of them, and when. Lists of
hosts, VMs and files keep the first MOST and count the others. Addresses, timers and problems are those that
cost a host most (`hosts.MOST_OF_HOST` of each), with the rest of it in one entry, so that they grow with the
number of hosts only.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

MOST = 1000
"""How many hosts, VMs and unreadable files are kept."""

OTHERS = ("(others)",)
"""The key of what a host had besides its MOST_OF_HOST entries."""

Key = tuple[str, ...]


@dataclass(frozen=True)
class Tally:
    """What is counted of one kernel, VMM, address or timer.

    hosts: with it; affected: those with a finding of at least a warning; threads: with a finding about it;
    traps: of its hosts, 0 where they are not counted; lost_ns: time that threads lost.
    """

    hosts: int = 0
    affected: int = 0
    threads: int = 0
    traps: int = 0
    lost_ns: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(_values(self), _values(other), strict=True)))


@dataclass(frozen=True)
class Advice:
    """What to change, its cost, and the command or setting, empty where there is none."""

    what: str
    cost: str
    command: str


@dataclass(frozen=True, order=True)
class Example:
    """The finding of a problem that cost most; the order is that of the fields."""

    lost_ns: int
    host: str
    vm: str  # or the process
    rip: str  # hexadecimal; empty: of no single address
    verdict: str
    file: str  # the first file of the recording
    remedies: tuple[Advice, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Problem:
    """One kind of finding, of one VMM and timer, on all hosts. severity: of the worst, as its number."""

    tally: Tally
    severity: int
    example: Example

    def __add__(self, other: "Problem") -> "Problem":
        example = max(self.example, other.example)
        return Problem(self.tally + other.tally, max(self.severity, other.severity), example)


@dataclass(frozen=True)
class Host:
    """One host. severity: of its worst finding, 0: none; incomplete: records are missing, or damaged."""

    name: str
    kernel: str
    lost_ns: int
    traps: int
    severity: int
    incomplete: bool

    @property
    def rank(self) -> tuple[Any, ...]:
        """The worst first."""
        return (-self.lost_ns, -self.severity, self.name, self.kernel)


@dataclass(frozen=True)
class Vm:
    """One VM, or a process without one, with a finding. verdict: of its worst finding."""

    host: str
    name: str
    vmm: str
    threads: int
    lost_ns: int
    severity: int
    verdict: str

    @property
    def rank(self) -> tuple[Any, ...]:
        """The worst first."""
        return (-self.lost_ns, -self.severity, self.host, self.name, self.vmm)


@dataclass(frozen=True)
class Unread:
    """A file that could not be read, and why."""

    path: str
    reason: str

    @property
    def rank(self) -> tuple[Any, ...]:
        """By name."""
        return (self.path, self.reason)


E = TypeVar("E", Host, Vm, Unread)
V = TypeVar("V", Tally, Problem)


@dataclass(frozen=True)
class Top(Generic[E]):
    """The first MOST entries by rank, and how many more there were. Those of two hosts are different."""

    entries: tuple[E, ...] = ()
    more: int = 0

    @classmethod
    def of(cls, entries: Iterable[E], more: int = 0) -> "Top[E]":
        """The first of these."""
        ranked = sorted(entries, key=lambda each: each.rank)
        return cls(tuple(ranked[:MOST]), more + max(0, len(ranked) - MOST))

    def merge(self, other: "Top[E]") -> "Top[E]":
        """The first of both."""
        return Top.of(self.entries + other.entries, self.more + other.more)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.entries) + self.more


@dataclass(frozen=True)
class Summary:
    """Hosts: one, or several that were merged. The texts are escaped.

    affected: hosts with a finding of at least a warning; not_affected are `hosts - affected`, of which
    incomplete recordings cannot say so. recordings: timelines, one for each boot of each host; recorded_ns:
    their length; lost_records: that the recorders lost; lost_ns: time that threads lost, a thread with
    several findings counts once, with the largest. kernels: by release; vmms: by name and executable; timers:
    by signal, what makes it, and period; addresses: by address; problems: by kind of finding, VMM and timer.
    """

    hosts: int = 0
    affected: int = 0
    incomplete: int = 0
    simulated: int = 0
    recordings: int = 0
    files: int = 0
    recorded_ns: int = 0
    traps: int = 0
    lost_records: int = 0
    lost_ns: int = 0
    severity: int = 0
    kernels: Mapping[Key, Tally] = field(default_factory=dict)
    vmms: Mapping[Key, Tally] = field(default_factory=dict)
    timers: Mapping[Key, Tally] = field(default_factory=dict)
    addresses: Mapping[Key, Tally] = field(default_factory=dict)
    problems: Mapping[Key, Problem] = field(default_factory=dict)
    top_hosts: Top[Host] = field(default_factory=Top)
    top_vms: Top[Vm] = field(default_factory=Top)
    unreadable: Top[Unread] = field(default_factory=Top)

    def merge(self, other: "Summary") -> "Summary":
        """Both. They must be of different hosts."""
        merged: dict[str, Any] = {}
        for each in dataclasses.fields(self):
            mine, others = getattr(self, each.name), getattr(other, each.name)
            if each.name == "severity":
                merged[each.name] = max(mine, others)
            elif isinstance(mine, Mapping):
                merged[each.name] = _added(mine, others)
            elif isinstance(mine, Top):
                merged[each.name] = mine.merge(others)
            else:
                merged[each.name] = mine + others
        return Summary(**merged)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the inverse."""
        found: dict[str, Any] = {}
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if isinstance(value, Mapping):
                entries = sorted(value.items())
                found[each.name] = [[list(key), dataclasses.asdict(one)] for key, one in entries]
            else:
                found[each.name] = dataclasses.asdict(value) if isinstance(value, Top) else value
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Summary":
        """The summary that `to_json` wrote; raises KeyError or TypeError for anything else."""
        made = dict(found)
        for name in ("kernels", "vmms", "timers", "addresses"):
            made[name] = {tuple(key): Tally(**one) for key, one in made[name]}
        made["problems"] = {tuple(key): _problem(one) for key, one in made["problems"]}
        for name, kind in (("top_hosts", Host), ("top_vms", Vm), ("unreadable", Unread)):
            entries = tuple(kind(**each) for each in made[name]["entries"])
            made[name] = Top(entries, made[name]["more"])
        return cls(**made)


class Merger:
    """Merges summaries as they come. It keeps a few partial ones, each of as many hosts as all later ones."""

    def __init__(self) -> None:
        self._partial: list[tuple[int, Summary]] = []

    def add(self, summary: Summary) -> None:
        """Takes one summary."""
        self._partial.append((1, summary))
        while len(self._partial) > 1 and self._partial[-1][0] == self._partial[-2][0]:
            self._join()

    def merged(self) -> Summary:
        """All of them as one; of none an empty one."""
        while len(self._partial) > 1:
            self._join()
        return self._partial[0][1] if self._partial else Summary()

    def _join(self) -> None:
        (count, one), (more, other) = self._partial.pop(), self._partial.pop()
        self._partial.append((count + more, one.merge(other)))


def merge_all(summaries: Iterable[Summary]) -> Summary:
    """All of them as one; of none an empty one."""
    merger = Merger()
    for each in summaries:
        merger.add(each)
    return merger.merged()


def _added(mine: Mapping[Key, V], others: Mapping[Key, V]) -> dict[Key, V]:
    added = dict(mine)
    for key, value in others.items():
        added[key] = added[key] + value if key in added else value
    return added


def _problem(found: Mapping[str, Any]) -> Problem:
    example = dict(found["example"])
    example["remedies"] = tuple(Advice(**each) for each in example["remedies"])
    return Problem(Tally(**found["tally"]), found["severity"], Example(**example))


def _values(tally: Tally) -> tuple[int, ...]:
    return (tally.hosts, tally.affected, tally.threads, tally.traps, tally.lost_ns)
