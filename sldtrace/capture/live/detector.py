"""Folds the records of a running recording as they come: early-return loops, and the sums of each thread."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.capture.live.bus_locks import BusLocks
from sldtrace.engine.fold import LiveFold
from sldtrace.engine.keys import joined
from sldtrace.engine.loops import Loop, LoopSummary
from sldtrace.engine.off_time import OffTime
from sldtrace.engine.sleeps import SleepSummary
from sldtrace.engine.slices import Slicer
from sldtrace.engine.thread_sums import ThreadSums
from sldtrace.model.penalty import Penalty

LAG_NS = 1_000_000_000
"""Traps are evaluated this much later, because records come in the order in which traps end, not start.

A trap that lasts longer is not taken into account for traps of other threads during it.
"""

MAX_THREADS = 16_384
MAX_LOOPS = 4096
_MAX_WAITING = 1 << 16  # records; above it they are evaluated at once
GOING_NS = 2_000_000_000
"""See Detector.going."""

LONGEST_PAUSE_NS = 4_000_000_000
"""Between two evaluations while they find nothing new, where only findings are wanted."""

_BUS_LOCKS = [("bus_locks", "i8"), ("bus_lock_ns", "i8")]
_LAST = ("tgid", "tid", "rip", "signal", "signal_code", "sender_tgid", "sender_tid")

Array = npt.NDArray[Any]


class Detector:
    """Finds loops in the records of a running recording, which come in batches of any size.

    Memory is bounded by the traps of about a second (at most 262,144), MAX_THREADS threads and MAX_LOOPS
    findings; beyond that, those that trapped longest ago are dropped.

    penalty: of this kernel; the length of its sleep is corrected from the sleeps seen (model.sleeps). cores:
    for each CPU the first CPU of its core (host.kernel.cores). longest_pause_ns: between two evaluations.
    """

    def __init__(
        self,
        penalty: Penalty,
        cores: Mapping[int, int],
        lag_ns: int = LAG_NS,
        longest_pause_ns: int = LONGEST_PAUSE_NS,
    ) -> None:
        def core(cpu: int) -> int:
            return cores.get(cpu, cpu)

        self._sleeps = SleepSummary(penalty.tick_ns)
        self._summary = LoopSummary(penalty, core, sleeps=self._sleeps, most=MAX_LOOPS)
        self._sums = ThreadSums(penalty.longest_sleep_ns)
        self._off = OffTime(core)
        self._fold = LiveFold([self._sleeps, self._summary, self._sums, self._off])
        self._bus_locks = BusLocks(MAX_THREADS)
        self._slicer = Slicer()
        self._lag = lag_ns
        self._pause = lag_ns
        self._longest_pause = longest_pause_ns
        self._next_ns = 0
        self._going: dict[tuple[int, int, int], Loop] = {}
        self.until_ns = 0
        """All records of an earlier time have been evaluated (CLOCK_MONOTONIC); 0: none yet."""
        self._reported: dict[tuple[int, int, int], bool] = {}

    @property
    def penalty(self) -> Penalty:
        """Of this kernel, by what was seen of it so far."""
        return self._summary.penalty

    @property
    def loops(self) -> list[Loop]:
        """All findings so far, the one that ended first is first."""
        return self._summary.loops()

    @property
    def going(self) -> list[Loop]:
        """The loops in progress at `until_ns`: the thread's last trap is in it, and ended within GOING_NS."""
        return list(self._going.values())

    def detection_off_ns(self) -> int:
        """How long detection was off until `until_ns`, summed over the cores."""
        return self._off.until(self.until_ns)

    def add(self, kind: str, records: Array) -> None:
        """Takes records of that kind; those that are not used are ignored. Keeps a reference to them."""
        if kind in self._fold.kinds:
            self._slicer.add(kind, records)
        elif kind in BusLocks.kinds:
            self._bus_locks.add(kind, records)

    def advance(self, now_ns: int) -> list[Loop]:
        """Evaluates records older than the lag. Returns findings that are new or have become a livelock.

        now_ns: CLOCK_MONOTONIC. An evaluation costs about the same for any number of records, so there is at
        most one in the time of the lag. While all findings are livelocks and there is nothing new, the pause
        grows to `longest_pause_ns`.
        """
        if self._slicer.count > _MAX_WAITING:
            return self.finish()
        if not self._slicer.count:
            self._evaluated([], now_ns - self._lag)
            return []
        if now_ns < self._next_ns:
            return []
        new = self._evaluate(now_ns - self._lag)
        settled = bool(self._reported) and not new and all(self._reported.values())
        self._pause = min(2 * self._pause, self._longest_pause) if settled else self._lag
        self._next_ns = now_ns + self._pause
        return new

    def finish(self) -> list[Loop]:
        """Evaluates all records. Returns findings that are new or have become a livelock."""
        return self._evaluate(None)

    def threads(self) -> Array:
        """A row for each thread that trapped, of the records evaluated so far, or has bus locks.

        Fields: those of engine.ThreadSums.sums; of the thread's last trap tgid, tid, rip, signal (0: none),
        signal_code, sender_tgid, sender_tid; bus_locks and bus_lock_ns of BusLocks. A thread that did not
        trap has the rip of its newest bus lock.
        """
        sums, last, locks = self._sums.sums, self._fold.tracker.last, self._bus_locks.rows()
        trapped, locked = (joined(each["tgid"], each["tid"]) for each in (last, locks))
        alone = locks[~np.isin(locked, trapped)]
        fields = [*sums.dtype.descr, *((name, last.dtype[name]) for name in _LAST), *_BUS_LOCKS]
        rows = np.zeros(len(sums) + len(alone), fields)
        with_traps, without = rows[: len(sums)], rows[len(sums) :]
        for part, names in ((sums, sums.dtype.names), (last, _LAST)):
            for name in names or ():
                with_traps[name] = part[name]
        for name in locks.dtype.names or ():
            without[name] = alone[name]
        _, here, there = np.intersect1d(trapped, locked, return_indices=True)
        for name, _ in _BUS_LOCKS:
            with_traps[name][here] = locks[name][there]
        return rows

    # Evaluates the records of a time before that; None: all.
    def _evaluate(self, until: int | None) -> list[Loop]:
        self._fold.update(self._slicer.take(until))
        changed = self._summary.loops(self._summary.changed)
        self._evaluated(changed, until or int(self._fold.tracker.last_ends.max(initial=0)))
        self._fold.forget(MAX_THREADS)
        found = []
        for loop in changed:
            key = loop.tgid, loop.tid, loop.rip
            if self._reported.get(key) != loop.livelock:
                found.append(loop)
            # The newest is last.
            self._reported.pop(key, None)
            self._reported[key] = loop.livelock
        while len(self._reported) > MAX_LOOPS:
            del self._reported[next(iter(self._reported))]
        return found

    # All records of an earlier time than that have been evaluated; they changed these loops.
    def _evaluated(self, changed: list[Loop], until: int) -> None:
        self.until_ns = max(self.until_ns, until)
        self._going |= {(loop.tgid, loop.tid, loop.rip): loop for loop in changed}
        self._going = {
            key: loop
            for key, loop in self._going.items()
            if not loop.traps_since and loop.end_ns >= self.until_ns - GOING_NS
        }
