"""Finds early-return loops in a running recording: the rule of the analyzer, in bounded memory."""

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.host.msr import DETECT
from sldtrace.model import early_returns as rule
from sldtrace.model.penalty import Penalty
from sldtrace.model.sleeps import Sleeps
from sldtrace.recording import schema

LAG_NS = 1_000_000_000
"""Traps are evaluated this much later, because records come in the order in which traps end, not start.

A trap that lasts longer is not taken into account for traps of other threads during it.
"""

MAX_THREADS = 16_384
MAX_LOOPS = 4096
_MAX_WAITING = 1 << 16  # records; above it they are evaluated at once
_LONGEST_PAUSE_NS = 4_000_000_000  # between two evaluations while they find nothing new

_ROW = np.dtype(
    [
        ("thread", "u8"),  # TGID and TID
        ("rip", "u8"),
        ("enter", "i8"),
        ("exit", "i8"),
        ("cpu", "u4"),
        ("vcpu", "i4"),
        ("guest", "?"),
        ("early", "?"),
        ("at_semaphore", "?"),
        ("watched", "?"),
    ]
)
_WRITE = np.dtype([("ns", "i8"), ("cpu", "u4"), ("on", "?")])
# `at_semaphore`: of `count`, how many were at the semaphore.
# `before` and `after`: early traps of the thread before the chain's first and up to its last.
_CHAIN = np.dtype(
    [
        ("stretch", "i8"),
        ("thread", "u8"),
        ("rip", "u8"),
        ("start", "i8"),
        ("end", "i8"),
        ("count", "i8"),
        ("at_semaphore", "i8"),
        ("before", "i8"),
        ("after", "i8"),
        ("vcpu", "i4"),
        ("guest", "?"),
    ]
)
_THREAD = np.dtype([("thread", "u8"), ("since", "i8"), ("watched", "?"), ("early", "i8")])

Array = npt.NDArray[Any]


@dataclass
class Loop:
    """The loops of one thread at one address, as the analyzer would report them for the recording so far.

    vcpu: -1 if not known; start_ns, end_ns: of the first and the last loop (CLOCK_MONOTONIC); loops: how
    many; in_loops_ns, longest_ns: their lengths; traps, at_semaphore: in loops, and how many of them returned
    early from the semaphore; early_returns: of the thread from start to end.
    """

    tgid: int
    tid: int
    rip: int
    vcpu: int
    guest: bool
    livelock: bool = False
    start_ns: int = 0
    end_ns: int = 0
    loops: int = 0
    in_loops_ns: int = 0
    longest_ns: int = 0
    traps: int = 0
    at_semaphore: int = 0
    early_returns: int = 0

    @property
    def kind(self) -> str:
        """The kind of the finding."""
        return rule.kind(self.guest, self.traps, self.at_semaphore)


@dataclass
class _Current:
    # The newest loop of a finding; it may continue.
    origin: int  # early traps of the thread before the first loop
    start: int
    lasted: int
    traps: int
    at_semaphore: int


class Detector:
    """Finds loops in the records of a running recording, which come in batches of any size.

    Memory is bounded by the traps of about a second (at most 262,144), MAX_THREADS threads and MAX_LOOPS
    findings; beyond that, those that trapped longest ago are dropped.

    penalty: of this kernel; the length of its sleep is corrected from the sleeps seen (model.sleeps). cores:
    for each CPU the first CPU of its core (host.kernel.cores).
    """

    def __init__(self, penalty: Penalty, cores: Mapping[int, int], lag_ns: int = LAG_NS) -> None:
        self.penalty = penalty
        self._sleeps = Sleeps(penalty.tick_ns)
        self._lag = lag_ns
        self._core = np.arange(max(cores, default=0) + 1)
        for cpu, core in cores.items():
            self._core[cpu] = core
        self._flags = schema.current().enums["trap_flags"].values
        self._traps: list[Array] = []  # as they came
        self._waiting = np.zeros(0, _ROW)
        self._writes: list[Array] = []
        self._pause = lag_ns
        self._count = 0
        self._next_ns = 0
        self._windows = rule.Windows()
        self._threads = np.zeros(0, _THREAD)
        self._open = np.zeros(0, _CHAIN)
        self._found: OrderedDict[tuple[int, int], Loop] = OrderedDict()
        self._current: dict[tuple[int, int], _Current] = {}

    @property
    def loops(self) -> list[Loop]:
        """All findings so far, the one that ended first is first."""
        return list(self._found.values())

    def add(self, kind: str, records: Array) -> None:
        """Takes records of that kind; only `trap` and `detection` are used. Keeps a reference to them."""
        if not len(records):
            return
        if kind == "trap":
            self._traps.append(records)
        elif kind == "detection":
            rows = np.zeros(len(records), _WRITE)
            rows["ns"], rows["cpu"] = records["ns"], records["cpu"]
            rows["on"] = records["value"] & DETECT != 0
            self._writes.append(rows)
        else:
            return
        self._count += len(records)

    def advance(self, now_ns: int) -> list[Loop]:
        """Evaluates records older than the lag. Returns findings that are new or have become a livelock.

        now_ns: CLOCK_MONOTONIC. An evaluation costs about the same for any number of records, so there is at
        most one in the time of the lag. While all findings are livelocks and there is nothing new, the pause
        grows to _LONGEST_PAUSE_NS.
        """
        if self._count > _MAX_WAITING:
            return self.finish()
        if now_ns < self._next_ns or not self._count:
            return []
        new = self._evaluate(now_ns - self._lag)
        settled = bool(self._found) and not new and all(loop.livelock for loop in self._found.values())
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_NS) if settled else self._lag
        self._next_ns = now_ns + self._pause
        return new

    def finish(self) -> list[Loop]:
        """Evaluates all records. Returns findings that are new or have become a livelock."""
        return self._evaluate(np.iinfo(np.int64).max)

    def _rows(self, records: Array) -> Array:
        flags = records["flags"]
        is_set = {name: flags & np.uint32(bit) != 0 for name, bit in self._flags.items()}
        rows = np.zeros(len(records), _ROW)
        rows["thread"] = records["tgid"].astype("u8") << np.uint64(32) | records["tid"]
        rows["rip"], rows["vcpu"], rows["cpu"] = records["rip"], records["vcpu"], records["start_cpu"]
        rows["enter"], rows["exit"] = records["start_ns"], records["end_ns"]
        rows["at_semaphore"] = records["semaphore_result"] < 0
        rows["guest"], rows["watched"] = is_set["GUEST"], is_set["MSR_WATCHED"]
        slept = is_set["SLEPT"]
        self._sleeps.add(slept, *(records[f"sleep_{each}"] for each in ("requested_ms", "left_ms", "ns")))
        if self._sleeps.jiffies not in (None, self.penalty.sleep_jiffies):
            self.penalty = dataclasses.replace(self.penalty, sleep_jiffies=self._sleeps.jiffies)
        rows["early"] = rule.returned_early(records)
        return rows

    def _core_of(self, cpu: Array) -> Array:
        # A CPU that came online later counts as its own core.
        known = np.minimum(cpu, len(self._core) - 1)
        cores: Array = np.where(cpu < len(self._core), self._core[known], cpu).astype(np.int64)
        return cores

    def _evaluate(self, until: int) -> list[Loop]:
        waiting = self._waiting
        if self._traps:
            waiting = np.concatenate([waiting, self._rows(np.concatenate(self._traps))])
            self._traps.clear()
        writes = np.concatenate([np.zeros(0, _WRITE), *self._writes])
        due, due_writes = waiting["enter"] < until, writes["ns"] < until
        self._waiting, self._writes = waiting[~due], [writes[~due_writes]]
        self._count = len(self._waiting) + len(self._writes[0])
        rows, writes = waiting[due], writes[due_writes]
        rows = rows[np.lexsort((rows["enter"], rows["thread"]))]
        if not len(rows):
            # The writes of MSR_TEST_CTRL still count.
            none = np.zeros(0, np.int64)
            self._opened(none, none, none, writes)
            return []
        return self._report(self._chains(rows, writes))

    def _opened(self, cpu: Array, since: Array, enter: Array, writes: Array) -> Array:
        return self._windows.opened(
            self._core_of(cpu), since, enter, self._core_of(writes["cpu"]), writes["ns"], writes["on"]
        )

    def _chains(self, rows: Array, writes: Array) -> Array:
        # The chains that these traps start or continue; rows are sorted by thread and start.
        first = np.ones(len(rows), bool)
        first[1:] = rows["thread"][1:] != rows["thread"][:-1]
        heads = np.flatnonzero(first)
        segment = np.cumsum(first) - 1  # index into heads
        before, seen = self._look_up(rows["thread"][heads])

        since = np.concatenate([[0], rows["exit"][:-1]])
        since[heads] = before["since"]
        watched = rows["watched"] & np.concatenate([[False], rows["watched"][:-1]])
        watched[heads] = rows["watched"][heads] & before["watched"]
        same = ~first
        same[heads] = seen
        opened = self._opened(rows["cpu"], since, rows["enter"], writes)
        broken = rule.breaks(self.penalty, same, rows["early"], watched, since, rows["enter"], opened)
        stretch = np.cumsum(broken | first)
        after = np.cumsum(rows["early"])
        after += (before["early"] - (after[heads] - rows["early"][heads]))[segment]

        mine = np.isin(self._open["thread"], rows["thread"])
        going_on = self._open[mine].copy()
        head_of = np.searchsorted(rows["thread"][heads], going_on["thread"])
        going_on["stretch"] = np.where(broken[heads][head_of], -1, stretch[heads][head_of])
        early = rows["early"]
        new = np.zeros(int(early.sum()), _CHAIN)
        new["stretch"], new["start"], new["end"] = stretch[early], rows["enter"][early], rows["exit"][early]
        for name in ("thread", "rip", "vcpu", "guest"):
            new[name] = rows[name][early]
        new["count"], new["before"], new["after"] = 1, after[early] - 1, after[early]
        new["at_semaphore"] = rows["at_semaphore"][early]
        chains = _merged(np.concatenate([going_on[going_on["stretch"] >= 0], new]))

        tails = np.concatenate([heads[1:], [len(rows)]]) - 1
        self._remember(rows[tails], after[tails])
        still_open = np.isin(chains["stretch"], stretch[tails])
        self._open = _latest(np.concatenate([self._open[~mine], chains[still_open]]), "end", 4 * MAX_THREADS)
        return chains

    def _look_up(self, threads: Array) -> tuple[Array, Array]:
        # The state of these threads, and for which there is any.
        found = np.zeros(len(threads), _THREAD)
        if not len(self._threads):
            return found, np.zeros(len(threads), bool)
        at = np.minimum(np.searchsorted(self._threads["thread"], threads), len(self._threads) - 1)
        seen: Array = self._threads["thread"][at] == threads
        found[seen] = self._threads[at[seen]]
        return found, seen

    def _remember(self, last: Array, early: Array) -> None:
        known = np.zeros(len(last), _THREAD)
        known["thread"], known["since"], known["watched"] = last["thread"], last["exit"], last["watched"]
        known["early"] = early
        others = self._threads[~np.isin(self._threads["thread"], last["thread"])]
        kept = _latest(np.concatenate([others, known]), "since", MAX_THREADS)
        self._threads = kept[np.argsort(kept["thread"], kind="stable")]

    def _report(self, chains: Array) -> list[Loop]:
        # One iteration for each loop; there are few, because each lasts longer than a penalty.
        lasted = chains["end"] - chains["start"]
        changed: dict[int, Loop] = {}
        for chain in chains[rule.is_loop(chains["count"], lasted, self.penalty)]:
            key = int(chain["thread"]), int(chain["rip"])
            known = self._found.pop(key, None)
            before = known is not None, known is not None and known.livelock
            loop = known or Loop(
                key[0] >> 32, key[0] & 0xFFFF_FFFF, key[1], int(chain["vcpu"]), bool(chain["guest"])
            )
            self._found[key] = loop
            self._add(loop, key, chain)
            if (True, loop.livelock) != before:
                changed[id(loop)] = loop
        while len(self._found) > MAX_LOOPS:
            self._current.pop(self._found.popitem(last=False)[0])
        return list(changed.values())

    def _add(self, loop: Loop, key: tuple[int, int], chain: Array) -> None:
        start, lasted = int(chain["start"]), int(chain["end"] - chain["start"])
        current = self._current.get(key)
        if current is None:
            loop.start_ns = start
        if current is not None and current.start == start:
            loop.in_loops_ns -= current.lasted
            loop.traps -= current.traps
            loop.at_semaphore -= current.at_semaphore
        else:
            loop.loops += 1
        origin = int(chain["before"]) if current is None else current.origin
        traps, at_semaphore = int(chain["count"]), int(chain["at_semaphore"])
        self._current[key] = _Current(origin, start, lasted, traps, at_semaphore)
        loop.traps += traps
        loop.at_semaphore += at_semaphore
        loop.vcpu = max(loop.vcpu, int(chain["vcpu"]))
        loop.end_ns = int(chain["end"])
        loop.in_loops_ns += lasted
        loop.longest_ns = max(loop.longest_ns, lasted)
        loop.early_returns = int(chain["after"]) - origin
        loop.livelock = rule.is_livelock(loop.loops, loop.longest_ns, loop.early_returns, self.penalty)


def _merged(chains: Array) -> Array:
    # Merges the pieces of each chain (same stretch, same address).
    if not len(chains):
        return chains
    chains = chains[np.lexsort((chains["start"], chains["rip"], chains["stretch"]))]
    begins = np.ones(len(chains), bool)
    begins[1:] = (chains["stretch"][1:] != chains["stretch"][:-1]) | (chains["rip"][1:] != chains["rip"][:-1])
    at = np.flatnonzero(begins)
    whole = chains[at].copy()
    for name in ("count", "at_semaphore"):
        whole[name] = np.add.reduceat(chains[name], at)
    for name in ("end", "after", "vcpu"):
        whole[name] = np.maximum.reduceat(chains[name], at)
    return whole[np.argsort(whole["start"], kind="stable")]


def _latest(rows: Array, field: str, most: int) -> Array:
    if len(rows) <= most:
        return rows
    return rows[np.argpartition(rows[field], len(rows) - most)[len(rows) - most :]]
