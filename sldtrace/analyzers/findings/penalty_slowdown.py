"""Finds threads that get on, but spend a large part of their time in penalties.

A penalty left alone sleeps for 10 ms in jiffies and then gives two jiffies without detection
(split_lock_warn, b041b525dab9): a guest that takes split locks all the time runs less than half of it.
Threads of which another finding says more (loops, queue, migrations) are left to that.
"""

from dataclasses import dataclass

from sldtrace.analyzers import loops, remedies
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Severity
from sldtrace.analyzers.findings import migration_defeat, semaphore_queue
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.model.penalty import WINDOW_JIFFIES, Penalty
from sldtrace.prediction import recorded_penalty
from sldtrace.text.phrases import length, ms, percent, plural

KIND = "penalty-slowdown"
TITLE = "threads slowed by penalties"
NEEDS = Needs(("trap",))

LEAST = 3  # penalties; fewer have no "time in between"
SHARE = 0.05  # of a thread's time in penalties: noticed by whoever uses the guest
_WARNING = 0.2


@dataclass(frozen=True)
class SlowdownNumbers(Numbers):
    """The penalties of one thread."""

    traps: int  # with a penalty
    completed: int  # of traps
    early_returns: int  # of traps
    slept_ns: int
    waited_ns: int  # for the semaphore
    penalty_share: float  # slept or waited, of span_ns
    longest_ns: int  # the longest penalty
    guest_ns: int | None  # guest time between the traps; None: not watched, or no guest
    span_ns: int  # from the first trap to the end of the last
    addresses: int  # of the instructions


def find(trace: Trace) -> list[Finding[SlowdownNumbers]]:
    """One finding for each thread, the one that is punished most first."""
    penalty = recorded_penalty.penalty(trace)
    explained = _explained(trace)
    found = []
    for (_, tid), traps in trace.rows("trap").threads.items():
        if tid in explained:
            continue
        rows = traps[(traps["slept"] | traps["semaphore"]) & ~traps["fatal"]]
        if rows.empty:
            continue
        # Up to the last one: how long the thread is left alone behind it is not known, and few rare penalties
        # would look like many.
        span = int(rows["start_ns"].max() - rows["start_ns"].min())
        lost = int(rows["sleep_ns"].iloc[:-1].sum() + rows["semaphore_ns"].iloc[:-1].sum())
        if is_slowed(len(rows), lost, span):
            found.append(_finding(trace, penalty, rows))
    # Equally punished: who was so first comes first.
    found.sort(key=lambda finding: finding.start_ns)
    return sorted(found, key=lambda finding: finding.numbers.penalty_share, reverse=True)


def is_slowed(penalties: int, lost_ns: int, span_ns: int) -> bool:
    """Is a thread slowed that spends so much of its time, from first trap to last, in penalties before it?"""
    return penalties >= LEAST and lost_ns >= SHARE * span_ns


# TIDs of threads of which another finding says more.
def _explained(trace: Trace) -> set[int]:
    parts = [*(each.rows for each in loops.of(trace)), *migration_defeat.defeats(trace)]
    return {*(int(rows["tid"].iloc[0]) for rows in parts), *map(int, semaphore_queue.victims(trace)["tid"])}


def _finding(trace: Trace, penalty: Penalty, rows: Rows) -> Finding[SlowdownNumbers]:
    tgid, tid = int(rows["tgid"].iloc[0]), int(rows["tid"].iloc[0])
    start, end = int(rows["start_ns"].min()), int(rows["end_ns"].max())
    known = rows["vcpu"].dropna()
    guest = bool(rows["guest"].any())
    whole = ~rows["early_return"]
    watched = rows["guest_ns"][rows["exits_watched"]].iloc[1:]
    slept, waited = int(rows["sleep_ns"].sum()), int(rows["semaphore_ns"].sum())
    numbers = SlowdownNumbers(
        traps=len(rows),
        completed=int(whole.sum()),
        early_returns=int(rows["early_return"].sum()),
        slept_ns=slept,
        waited_ns=waited,
        penalty_share=round((slept + waited) / max(end - start, 1), 4),
        longest_ns=int((rows["sleep_ns"] + rows["semaphore_ns"]).max()),
        guest_ns=int(watched.sum()) if guest and len(watched) else None,
        span_ns=end - start,
        addresses=int(rows["rip"].nunique()),
    )
    window = f"{ms(WINDOW_JIFFIES * penalty.tick_ns)} to {ms((WINDOW_JIFFIES + 1) * penalty.tick_ns)} ms"
    share = percent(numbers.penalty_share, 1)
    return Finding(
        kind=KIND,
        severity=Severity.WARNING if numbers.penalty_share >= _WARNING else Severity.NOTICE,
        verdict="slowed",
        subject=trace.subject(tgid, tid, int(known.iloc[0]) if len(known) else None),
        headline=f"spent {share} of its time in penalties, but got through",
        rip=int(rows["rip"].iloc[0]) if numbers.addresses == 1 else None,
        start_ns=start,
        end_ns=end,
        ongoing=trace.span_ns[1] - end < 2 * penalty.longest_sleep_ns,
        confidence=Confidence.CERTAIN,
        confidence_reason="the time in the penalties was measured",
        cause=(
            f"{loops.punishment(penalty)} Then detection is off on its core for {window}, and it gets on "
            "until the "
            f"next split lock after that.{loops.assumed(penalty)}"
        ),
        facts=_facts(numbers),
        numbers=numbers,
        remedies=[
            remedies.align(guest),
            *remedies.no_penalty(trace, penalty),
            remedies.no_detection(),
        ],
        evidence=rows,
    )


def _facts(n: SlowdownNumbers) -> list[Fact]:
    early = f", {n.early_returns:,} cut short" if n.early_returns else ""
    wait = f", {length(n.waited_ns)} of it waiting for the semaphore" if n.waited_ns else ""
    asleep = n.slept_ns + n.waited_ns
    text = f"{length(asleep)} of {length(n.span_ns)} ({percent(asleep, n.span_ns)}){wait}"
    ran = "guest time was not recorded"
    if n.guest_ns is not None:
        ran = f"{length(n.guest_ns)} in the guest ({percent(n.guest_ns, n.span_ns)})"
    where = plural(n.addresses, "address", "addresses")
    return [
        Fact("penalties", f"{n.traps:,} at {where}: {n.completed:,} slept to the end{early}"),
        Fact("punished", text),
        Fact("progress", ran),
    ]
