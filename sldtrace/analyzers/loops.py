"""Loops of early returns of all threads: their traps, phases and numbers, and what kind of finding they are.

The rule is in sldtrace.model.early_returns, which the recorder applies too. Three analyzers share what is
here: guests' loops in the sleep, those in the semaphore behind it, and those of programs. They are told
apart because what is to be changed differs.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sldtrace.analyzers import chains, progress, signal_owner
from sldtrace.analyzers.finding import Fact, Finding, Interval, Numbers, Remedy, Severity
from sldtrace.analyzers.progress import ProgressNumbers
from sldtrace.analyzers.signal_owner import SignalNumbers
from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.host import signals
from sldtrace.model import early_returns as rule
from sldtrace.model.penalty import WINDOW_JIFFIES, Penalty
from sldtrace.prediction import recorded_penalty
from sldtrace.text.phrases import address, length, ms

SIGNAL_PROBE = "signal:signal_generate"

_HEALTHY_PENALTIES = 8  # so long without a loop is a phase of its own


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
    """All loops of one thread at one address: rows, of `in_loops`; same: all its traps meanwhile."""

    penalty: Penalty
    kind: str
    rows: Rows
    same: Rows
    numbers: LoopNumbers


@per_trace
def of(trace: Trace) -> list[Loops]:
    """The loops of each thread and address, those with the longest first."""
    penalty = recorded_penalty.penalty(trace)
    traps = trace.rows("trap")
    rows = chains.in_loops(chains.of(traps, trace.rows("detection"), trace.core, penalty), penalty)
    found = []
    for (tgid, tid, _), group in rows.split("tgid", "tid", "rip"):
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
    signal = signal_owner.numbers(trace, same)
    least, others = None, None
    if kind == rule.SEMAPHORE:
        # A thread at the end of the queue waits for each of the others once: they take turns.
        others = _others(trace, rows)
        least = penalty.longest_sleep_ns + others * (WINDOW_JIFFIES + 1) * penalty.tick_ns
    elif signal is not None and signal.period_ns is not None:
        least = signal_owner.least_period_ns(trace, penalty, same)
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
        progress=progress.numbers(trace, rows, same),
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


def finding(trace: Trace, loops: Loops, cause: str, remedies: list[Remedy]) -> Finding[LoopNumbers]:
    """The finding of these loops."""
    rows, numbers = loops.rows, loops.numbers
    known = rows["vcpu"].dropna()
    tgid, tid, rip = (int(rows[name].iloc[0]) for name in ("tgid", "tid", "rip"))
    livelock = rule.is_livelock(numbers.loops, numbers.longest_ns, numbers.early_returns, loops.penalty)
    verdict, severity = rule.verdict(livelock)
    confidence, reason = progress.confidence(
        trace, loops.penalty, numbers.progress, numbers.early_returns, numbers.in_loops_ns
    )
    end = int(rows["end_ns"].max())
    where = f"{'guest ' if numbers.guest else ''}address {address(rip)}"
    return Finding(
        kind=loops.kind,
        severity=Severity[severity.upper()],
        verdict=verdict,
        subject=trace.subject(tgid, tid, int(known.iloc[0]) if len(known) else None),
        headline=f"{'does not get past' if livelock else 'is held up at'} {where}",
        rip=rip,
        start_ns=int(rows["start_ns"].min()),
        end_ns=end,
        # Nothing shorter than a penalty tells whether it went on.
        ongoing=trace.span_ns[1] - end < 2 * loops.penalty.longest_sleep_ns,
        confidence=confidence,
        confidence_reason=reason,
        cause=cause,
        facts=_facts(trace, numbers),
        numbers=numbers,
        remedies=remedies,
        evidence=rows.without("chain"),
        intervals=_intervals(loops),
    )


def _facts(trace: Trace, n: LoopNumbers) -> list[Fact]:
    many = f"{n.loops:,} stretches, the longest {length(n.longest_ns)}"
    lasted = f"{length(n.in_loops_ns)} in {many}"
    semaphore = f" ({n.semaphore_early_returns:,} from its semaphore)" if n.semaphore_early_returns else ""
    traps = f"{n.traps:,}, of which {n.early_returns:,} early returns of the penalty{semaphore}"
    asked = f"{length(n.sleep_shortest_ns)} to {length(n.sleep_longest_ns)}"
    slept = f"{length(n.slept_median_ns)} (median), where the penalty lasts {asked}"
    return [
        *([Fact("in loops", lasted)] if n.loops > 1 else []),
        Fact("traps", traps),
        Fact("slept", slept),
        signal_owner.fact(trace, n.signal, n.early_returns),
        *_needs(n),
        progress.fact(n.progress, n.in_loops_ns),
    ]


def _needs(n: LoopNumbers) -> list[Fact]:
    if n.least_period_ns is None:
        return []
    least = length(n.least_period_ns)
    return [Fact("needs", f"{least} or more between them would let it through each time (by the model)")]


# Loops with no more than a short pause between them are one phase; what is between two phases is one, too.
def _intervals(loops: Loops) -> list[Interval]:
    starts, ends = (np.sort(each) for each in chains.spans(loops.rows)[1:])
    pause = _HEALTHY_PENALTIES * loops.penalty.longest_sleep_ns
    cuts = np.flatnonzero(starts[1:] - ends[:-1] > pause) + 1
    phases = [
        (int(s[0]), int(e[-1])) for s, e in zip(np.split(starts, cuts), np.split(ends, cuts), strict=True)
    ]
    if len(phases) < 2:
        return []
    found = [_interval(loops.same, start, end, "loop") for start, end in phases]
    between = [(one[1], other[0]) for one, other in pairwise(phases)]
    found += [_interval(loops.same, end, start, "") for end, start in between]
    return sorted(found, key=lambda interval: interval.start_ns)


def _interval(same: Rows, start: int, end: int, verdict: str) -> Interval:
    inside = same["start_ns"].between(start, end, inclusive="both" if verdict else "neither")
    detection_off, early = (int((same[name] & inside).sum()) for name in ("detection_off", "early_return"))
    # Without a trap it did not run into a split lock; with one that was let go it got on.
    verdict = verdict or (
        "gets on" if detection_off else "no split locks" if not early else "early returns, no loop"
    )
    return Interval(
        start, end, verdict, traps=int(inside.sum()), early_returns=early, detection_off=detection_off
    )


def what_ended_it(trace: Trace, signal: SignalNumbers | None) -> str:
    """What cut the sleeps short, to begin a sentence with."""
    if signal is not None:
        return signals.name(signal.number)
    if any(name == SIGNAL_PROBE and backend for name, backend in trace.probes):
        return "Something of which no signal was seen (task work, of io_uring for example, sends none)"
    return "Something (signals could not be watched)"


def assumed(penalty: Penalty) -> str:
    """What is to be added where the length of the penalty is a guess."""
    return (
        "" if penalty.known else " (How long the sleep lasts is assumed: the kernel's version is not known.)"
    )


def punishment(penalty: Penalty) -> str:
    """What the kernel does, as the first sentence of a cause."""
    return (
        "To punish a split lock the kernel puts the thread to sleep for "
        f"{ms(penalty.shortest_sleep_ns)} to {ms(penalty.longest_sleep_ns)} ms and then lets it run."
    )
