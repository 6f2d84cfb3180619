"""Finds threads that make progress, but spend a large part of their time in penalties.

A penalty that no signal ends sleeps for 10 ms in jiffies, and detection is off for two jiffies after it
(split_lock_warn, b041b525dab9): a guest that takes split locks all the time runs less than half of it.
Threads that another finding explains (loops, queue, migrations) are left to that finding.
"""

from dataclasses import dataclass

from sldtrace.analyzers import penalties, remedies, thresholds
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Severity
from sldtrace.analyzers.findings import migration_defeat, semaphore_queue
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset import folding
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.model.penalty import Penalty
from sldtrace.prediction import recorded_penalty
from sldtrace.text.phrases import length, percent, plural

KIND = "penalty-slowdown"


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
    """One finding for each thread, the one with the largest share of penalties first."""
    penalty = recorded_penalty.penalty(trace)
    explained = _explained(trace)
    found = []
    for (_, tid), traps in trace.rows("trap").threads.items():
        if tid in explained:
            continue
        rows = traps[(traps["slept"] | traps["semaphore"]) & ~traps["fatal"]]
        if rows.empty:
            continue
        # Without the last one: the time until the next is not known, and a few rare penalties would look like
        # many.
        span = int(rows["start_ns"].max() - rows["start_ns"].min())
        lost = int(rows["sleep_ns"].iloc[:-1].sum() + rows["semaphore_ns"].iloc[:-1].sum())
        if is_slowed(len(rows), lost, span):
            found.append(_finding(trace, penalty, rows))
    # Of equal shares, the earliest comes first.
    found.sort(key=lambda finding: finding.start_ns)
    return sorted(found, key=lambda finding: finding.numbers.penalty_share, reverse=True)


def is_slowed(count: int, lost_ns: int, span_ns: int) -> bool:
    """Is a thread slowed? lost_ns: time in penalties before the last; span_ns: from the first to the last."""
    enough = thresholds.SLOWDOWN_SHARE.value * span_ns
    return count >= thresholds.SLOWDOWN_PENALTIES.value and lost_ns >= enough


# TIDs of threads that another finding explains.
def _explained(trace: Trace) -> set[int]:
    return {
        *(each.tid for each in folding.fold(trace).loops.loops()),
        *(int(rows["tid"].iloc[0]) for rows in migration_defeat.defeats(trace)),
        *map(int, semaphore_queue.victims(trace)["tid"]),
    }


def _finding(trace: Trace, penalty: Penalty, rows: Rows) -> Finding[SlowdownNumbers]:
    start, end = int(rows["start_ns"].min()), int(rows["end_ns"].max())
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
    share = percent(numbers.penalty_share, 1)
    severe = numbers.penalty_share >= thresholds.SLOWDOWN_WARNING_SHARE.value
    return Finding(
        kind=KIND,
        severity=Severity.WARNING if severe else Severity.NOTICE,
        verdict="slowed",
        subject=trace.subject_of(rows),
        headline=f"spends {share} of its time in penalties, but makes progress",
        rip=int(rows["rip"].iloc[0]) if numbers.addresses == 1 else None,
        start_ns=start,
        end_ns=end,
        ongoing=penalties.is_ongoing(trace, penalty, end),
        confidence=Confidence.CERTAIN,
        confidence_reason="the time in the penalties was measured",
        cause=(
            f"{penalties.explained(penalty)} Detection is then off on its core for "
            f"{penalties.window(penalty)}, and the thread makes progress until the next split lock after "
            f"that.{penalties.assumption(penalty)}"
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
    early = f", {n.early_returns:,} ended early" if n.early_returns else ""
    wait = f", {length(n.waited_ns)} of it waiting for the semaphore" if n.waited_ns else ""
    asleep = n.slept_ns + n.waited_ns
    text = f"{length(asleep)} of {length(n.span_ns)} ({percent(asleep, n.span_ns)}){wait}"
    ran = "guest time was not recorded"
    if n.guest_ns is not None:
        ran = f"{length(n.guest_ns)} in the guest ({percent(n.guest_ns, n.span_ns)})"
    where = plural(n.addresses, "address", "addresses")
    return [
        Fact("penalties", f"{n.traps:,} at {where}: {n.completed:,} completed{early}"),
        Fact("in them", text),
        Fact("progress", ran),
    ]


ANALYZER = Analyzer(
    kind=KIND,
    title="threads slowed by penalties",
    needs=Needs(("trap",)),
    numbers=SlowdownNumbers,
    find=find,
)
