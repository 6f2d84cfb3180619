"""Loops of early returns of all threads: their traps, their numbers, and what kind of finding they are.

The rule is in sldtrace.model.early_returns, which the recorder applies too.
"""

from dataclasses import dataclass

from sldtrace.analyzers import chains, ending_signal, progress
from sldtrace.analyzers.ending_signal import SignalNumbers
from sldtrace.analyzers.finding import Numbers
from sldtrace.analyzers.progress import ProgressNumbers
from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.model import early_returns as rule
from sldtrace.model.penalty import Penalty
from sldtrace.prediction import recorded_penalty


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
    signal: SignalNumbers | None  # None: none was seen


@dataclass(frozen=True)
class Loops:
    """All loops of one thread at one address."""

    penalty: Penalty
    kind: str  # of model.early_returns: SLEEP, SEMAPHORE or PROGRAM
    rows: Rows  # the traps in loops, as chains.select_loops gives them
    same: Rows  # all traps of the thread from the first loop to the last
    numbers: LoopNumbers


@per_trace
def find_loops(trace: Trace) -> list[Loops]:
    """The loops of each thread and address, those with the longest first."""
    penalty = recorded_penalty.penalty(trace)
    traps = trace.rows("trap")
    rows = chains.select_loops(
        chains.find_chains(traps, trace.rows("detection"), trace.core, penalty), penalty
    )
    found = []
    for (tgid, tid, _), group in rows.groupby("tgid", "tid", "rip"):
        same = traps.thread(tgid, tid)
        same = same[same["start_ns"].between(group["start_ns"].min(), group["end_ns"].max())]
        at_semaphore = int((group["semaphore_result"] < 0).sum())
        kind = rule.kind(bool(group["guest"].iloc[0]), len(group), at_semaphore)
        numbers = _numbers(trace, penalty, kind, group, same)
        found.append(Loops(penalty, kind, group, same, numbers))
    # Of equally long ones, that of the first thread by number, and in it the earliest.
    found.sort(key=lambda loops: (*_who(loops.rows), int(loops.rows["start_ns"].iloc[0])))
    return sorted(found, key=lambda loops: loops.numbers.longest_ns, reverse=True)


def _who(rows: Rows) -> tuple[int, int]:
    return int(rows["tgid"].iloc[0]), int(rows["tid"].iloc[0])


def _numbers(trace: Trace, penalty: Penalty, kind: str, rows: Rows, same: Rows) -> LoopNumbers:
    _, starts, ends = chains.spans(rows)
    loops = ends - starts
    signal = ending_signal.find_signal(trace, same)
    least, others = None, None
    if kind == rule.SEMAPHORE:
        # A thread at the end of the queue waits for each of the others once: they take turns.
        others = _others(trace, rows)
        least = penalty.longest_sleep_ns + others * (penalty.window_ns + penalty.tick_ns)
    elif signal is not None and signal.period_ns is not None:
        least = ending_signal.least_period_ns(trace, penalty, same)
    return LoopNumbers(
        guest=bool(rows["guest"].iloc[0]),
        loops=len(loops),
        in_loops_ns=int(loops.sum()),
        longest_ns=int(loops.max()),
        traps=len(same),
        early_returns=int(same["early_return"].sum()),
        semaphore_early_returns=int((same["semaphore_result"] < 0).sum()),
        slept_median_ns=int(rows["sleep_ns"].median()),
        always_early_below_ns=penalty.always_early_below_ns,
        always_completes_above_ns=penalty.always_completes_above_ns,
        sleep_shortest_ns=penalty.shortest_sleep_ns,
        sleep_longest_ns=penalty.longest_sleep_ns,
        least_period_ns=least,
        other_threads=others,
        progress=progress.measure(trace, rows, same),
        signal=signal,
    )


# Other threads with a penalty between the first and the last of these traps.
def _others(trace: Trace, rows: Rows) -> int:
    start, end = rows["start_ns"].min(), rows["end_ns"].max()
    count = 0
    for (_, tid), traps in trace.rows("trap").threads.items():
        penalized = traps["start_ns"].between(start, end) & (traps["slept"] | traps["semaphore"])
        count += int(tid != rows["tid"].iloc[0] and penalized.any())
    return count
