"""Loops of early returns of all threads: their traps, their numbers, and what kind of finding they are.

They are found by sldtrace.engine.loops, as the recorder finds them.
"""

from dataclasses import dataclass

import numpy as np

from sldtrace.analyzers import cpu_waits, ending_signal, endings, progress
from sldtrace.analyzers.cpu_waits import CpuWaits
from sldtrace.analyzers.ending_signal import SignalNumbers
from sldtrace.analyzers.endings import EndedBy
from sldtrace.analyzers.finding import Numbers
from sldtrace.analyzers.progress import ProgressNumbers
from sldtrace.dataset import folding
from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.engine.loop_details import Details, LoopDetails
from sldtrace.engine.loops import Loop
from sldtrace.model import early_returns as rule
from sldtrace.model.early_returns import Bools
from sldtrace.model.penalty import Penalty
from sldtrace.recording.layout import Records


@dataclass(frozen=True)
class LoopNumbers(Numbers):
    """The loops of one thread at one address; the traps are those from the first loop to the last."""

    guest: bool  # a vCPU: false for a program's own split locks
    loops: int
    in_loops_ns: int  # time in all loops
    longest_ns: int  # time in the longest loop
    traps: int
    early_returns: int
    semaphore_early_returns: int  # of early_returns, those in the wait for the semaphore
    slept_median_ns: int  # of the traps in loops
    always_early_below_ns: int  # a signal up to this time into the sleep always ends it early
    always_completes_above_ns: int  # a signal after this time into the sleep never does
    sleep_shortest_ns: int  # a sleep that no signal ends, on this kernel
    sleep_longest_ns: int
    least_period_ns: int | None  # of the signal, so that every penalty completes; None: not known
    other_threads: int | None  # that are penalized at the same time; None: not a loop at the semaphore
    progress: ProgressNumbers
    cpu: CpuWaits | None  # None: not sampled in this time
    ended_by: tuple[EndedBy, ...]  # causes of the early returns, those of the most first
    signal: SignalNumbers | None  # the first of ended_by; None: that is no signal
    other_signals: tuple[SignalNumbers, ...]  # with a large share of ended_by, too

    @property
    def signals(self) -> tuple[SignalNumbers, ...]:
        """All signals with a large share, that of the most first."""
        return (() if self.signal is None else (self.signal,)) + self.other_signals

    @property
    def lost_ns(self) -> int:
        """The time in loops."""
        return self.in_loops_ns


@dataclass(frozen=True)
class Loops:
    """All loops of one thread at one address."""

    penalty: Penalty
    kind: str  # of model.early_returns: SLEEP, SEMAPHORE or PROGRAM
    loop: Loop
    numbers: LoopNumbers


_SPAN = ("start_ns", "end_ns")


@per_trace
def find_loops(trace: Trace) -> list[Loops]:
    """The loops of each thread and address, those with the longest first."""
    folded, details = folding.fold(trace), folding.loop_details(trace)
    starts, ends = (np.array([getattr(each, name) for each in details.loops], np.int64) for name in _SPAN)
    # Without the thread itself.
    others = (folded.penalties.threads_between(starts, ends) - 1).tolist()
    found = [
        Loops(folded.penalty, loop.kind, loop, _numbers(trace, folded.penalty, loop, details, detail, other))
        for loop, detail, other in zip(details.loops, details.found, others, strict=True)
    ]
    # Of equally long ones, that of the first thread by number, and in it the earliest.
    found.sort(key=lambda each: (each.loop.tgid, each.loop.tid, each.loop.start_ns))
    return sorted(found, key=lambda each: each.loop.longest_ns, reverse=True)


# others: threads with penalties in the time of this loop.
def _numbers(
    trace: Trace, penalty: Penalty, loop: Loop, every: LoopDetails, details: Details, others: int
) -> LoopNumbers:
    ended_by = endings.find(details)
    signals = ending_signal.find_signals(every, details, ended_by)
    signal = signals[0] if signals and signals[0].number == ended_by[0].signal else None
    least = None
    if loop.kind == rule.SEMAPHORE:
        # A thread at the end of the queue waits for each of the others once: they take turns.
        least = penalty.longest_sleep_ns + others * (penalty.window_ns + penalty.tick_ns)
    elif signal is not None and signal.period_ns is not None:
        least = ending_signal.least_period_ns(penalty, details)
    return LoopNumbers(
        guest=loop.guest,
        loops=loop.loops,
        in_loops_ns=loop.in_loops_ns,
        longest_ns=loop.longest_ns,
        traps=loop.traps,
        early_returns=loop.early_returns,
        semaphore_early_returns=loop.semaphore_early_returns,
        slept_median_ns=int(folding.fold(trace).loops.slept(loop, [0.5])[0]),
        always_early_below_ns=penalty.always_early_below_ns,
        always_completes_above_ns=penalty.always_completes_above_ns,
        sleep_shortest_ns=penalty.shortest_sleep_ns,
        sleep_longest_ns=penalty.longest_sleep_ns,
        least_period_ns=least,
        other_threads=others if loop.kind == rule.SEMAPHORE else None,
        progress=progress.measure(loop, details),
        cpu=cpu_waits.measure([details.run_delay]),
        ended_by=ended_by,
        signal=signal,
        other_signals=signals if signal is None else signals[1:],
    )


def evidence(trace: Trace, loop: Loop) -> Rows:
    """The traps in these loops, in order of time, read from the file when they are asked for."""
    spans = folding.fold(trace).loops.spans(loop)
    starts, ends = spans["start"], spans["end"]

    def of_thread(traps: Records) -> Bools:
        mine = (traps["tgid"] == loop.tgid) & (traps["tid"] == loop.tid)
        found: Bools = mine & (traps["rip"] == np.uint64(loop.rip)) & rule.returned_early(traps)
        return found

    def in_loops(traps: Records) -> Bools:
        enter = traps["start_ns"].astype(np.int64)
        at = np.searchsorted(starts, enter, "right") - 1
        return of_thread(traps) & (at >= 0) & (enter <= ends[np.maximum(at, 0)])

    return trace.evidence("trap", loop.in_loops, [*loop.first, *loop.last], in_loops)
