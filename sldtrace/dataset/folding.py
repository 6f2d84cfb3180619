"""Folds a recording once into the summaries that reports and findings are made of."""

from typing import TypeVar

from sldtrace.dataset import levels
from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.trace import Trace
from sldtrace.engine.ac_exits import AcExitSummary
from sldtrace.engine.bus_locks import BusLockExits, BusLockSums
from sldtrace.engine.count_sums import CountSums
from sldtrace.engine.defeats import DefeatSums
from sldtrace.engine.fatal_traps import FatalTraps
from sldtrace.engine.fold import Fold, Summary
from sldtrace.engine.lock_waits import LockWaits
from sldtrace.engine.loop_details import LoopDetails
from sldtrace.engine.loops import LoopSummary
from sldtrace.engine.penalty_sums import PenaltySums
from sldtrace.engine.run_delays import RunDelaySums
from sldtrace.engine.semaphore_waits import SemaphoreWaits
from sldtrace.engine.sleeps import SleepSummary
from sldtrace.engine.slices import slices
from sldtrace.engine.thread_sums import ThreadSums
from sldtrace.engine.threads import Threads
from sldtrace.engine.windows import WindowSums
from sldtrace.model import penalty as penalties
from sldtrace.model.penalty import Penalty

S = TypeVar("S", bound=Summary)


class Folded:
    """The summaries of one recording; all are of the same records.

    assumed: the penalty that they were made with; penalty: what the records say of it.
    """

    def __init__(self, trace: Trace, assumed: Penalty) -> None:
        self.assumed = assumed
        self._facts = trace.facts
        self._summaries: list[Summary] = []
        self.sleeps = self._add(SleepSummary(assumed.tick_ns))
        self.threads = self._add(ThreadSums(assumed.longest_sleep_ns))
        self.loops = self._add(LoopSummary(assumed, trace.core))
        self.windows = self._add(WindowSums(assumed.tick_ns, trace.core, stops(trace)))
        self.fatal = self._add(FatalTraps())
        self.counts = self._add(CountSums())
        self.penalties = self._add(PenaltySums(assumed.longest_sleep_ns))
        self.waits = self._add(SemaphoreWaits(assumed.tick_ns))
        self.defeats = self._add(DefeatSums(assumed.tick_ns, trace.core))
        self.locks = self._add(LockWaits(assumed.tick_ns))
        self.ac_exits = self._add(AcExitSummary())
        self.run_delays = self._add(RunDelaySums())
        self.bus_lock_exits = self._add(BusLockExits())
        self.bus_locks = self._add(BusLockSums())
        self._fold = Fold(self._summaries)
        self._fold.run(slices(trace.recording, self._fold.kinds))
        self.windows.finish()

    def _add(self, summary: S) -> S:
        self._summaries.append(summary)
        return summary

    @property
    def numbers(self) -> Threads:
        """The numbers of the threads that trapped."""
        return self._fold.tracker.threads

    @property
    def left_out(self) -> int:
        """How often a thread, address or loop had no room in a summary, which is bounded."""
        bounded = (
            self.loops,
            self.counts,
            self.locks,
            self.ac_exits,
            self.bus_lock_exits,
            self.bus_locks,
            self.penalties,
            self.run_delays,
        )
        return sum(each.left_out for each in bounded)

    @property
    def penalty(self) -> Penalty:
        """The penalty by the host's facts, `penalty.from_facts`, corrected by the traps.

        If a thread slept, the kernel has the penalty, whatever its version says. Signals soon after the begin
        of a sleep show its length: see `sleeps.Sleeps`.
        """
        return self.sleeps.corrected(penalties.from_facts(self._facts, slept=self.sleeps.slept))


@per_trace
def fold(trace: Trace) -> Folded:
    """The summaries of a recording.

    They need the length of the penalty's sleep, which the traps show. It is assumed from the first ones; if
    the whole recording says something else, it is read a second time.
    """
    assumed = _first_penalty(trace)
    found = Folded(trace, assumed)
    return found if found.penalty == assumed else Folded(trace, found.penalty)


@per_trace
def loop_details(trace: Trace) -> LoopDetails:
    """The details of the recording's loops, in the order of LoopSummary.loops: it is read a second time."""
    folded = fold(trace).loops
    loops = folded.loops()
    found = LoopDetails(
        loops,
        [folded.spans(loop) for loop in loops],
        trace.core,
        stops(trace),
    )
    if loops:
        again = Fold([found])
        again.run(slices(trace.recording, again.kinds))
    found.finish()
    return found


def stops(trace: Trace) -> list[int]:
    """When watching of MSR_TEST_CTRL ended; nothing says so where it was watched all the time (simulated)."""
    return [end for _, end in levels.watched(trace)] or [trace.span_ns[1]]


def _first_penalty(trace: Trace) -> Penalty:
    found = penalties.from_facts(trace.facts, slept=True)
    sleeps = SleepSummary(found.tick_ns)
    first = Fold([sleeps])
    for each in slices(trace.recording, first.kinds):
        first.update(each)
        break
    return sleeps.corrected(penalties.from_facts(trace.facts, slept=sleeps.slept))
