"""Finds threads whose penalties are wasted: they are moved away from the core on which detection is off.

split_lock_warn switches detection off on the core it runs on, for two jiffies (sld_update_msr(false) and
schedule_delayed_work_on(cpu, ..., 2); b041b525dab9). On another core detection is on, and the thread traps on
the same instruction. So the penalty was wasted if the next trap comes on another core, sooner than two
jiffies after the end of the one before.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from sldtrace.analyzers import addresses, penalties, remedies
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset import folding
from sldtrace.dataset.rows import BATCH, Rows
from sldtrace.dataset.subject import thread
from sldtrace.dataset.trace import Trace
from sldtrace.engine.defeats import Defeats, DefeatSums
from sldtrace.engine.fold import Fold
from sldtrace.engine.slices import slices
from sldtrace.model.early_returns import Bools
from sldtrace.model.penalty import Penalty
from sldtrace.prediction import recorded_penalty
from sldtrace.recording.layout import Records
from sldtrace.text.phrases import length, percent, plural

KIND = "migration-defeat"


@dataclass(frozen=True)
class MigrationNumbers(Numbers):
    """The completed penalties of one thread at one address, and its moves to other CPUs in the same time."""

    completed: int
    defeated: int  # of completed, those after which the thread trapped on another core
    gap_median_ns: int  # from the end of a defeated penalty to the next trap
    used_ns: int | None  # guest time in those gaps; None: not watched
    window_ns: int  # two jiffies
    slept_ns: int  # in defeated penalties
    migrations: int
    moved_by_tgid: int | None  # that ran at most of the moves; None: no move was recorded
    moved_by_tid: int | None
    moved_by_count: int

    @property
    def lost_ns(self) -> int:
        """The time in wasted penalties."""
        return self.slept_ns


def find(trace: Trace) -> list[Finding[MigrationNumbers]]:
    """One finding for each thread and address, that with the most defeated penalties first."""
    penalty = recorded_penalty.penalty(trace)
    found = [_finding(trace, penalty, each) for each in folding.fold(trace).defeats.found()]
    return sorted(found, key=lambda finding: finding.numbers.defeated, reverse=True)


# The wasted penalties, read from the file when they are asked for.
def _evidence(trace: Trace, each: Defeats) -> Rows:
    def at(times: Collection[int]) -> Callable[[Records], Bools]:
        wanted = np.array(list(times), np.int64)

        def chosen(traps: Records) -> Bools:
            found: Bools = (traps["tgid"] == each.tgid) & (traps["tid"] == each.tid)
            return found & np.isin(traps["start_ns"].astype(np.int64), wanted)

        return chosen

    def every() -> Rows:
        who = each.tgid, each.tid, each.rip
        summary = DefeatSums(recorded_penalty.penalty(trace).tick_ns, trace.core, who)
        again = Fold([summary])
        again.run(slices(trace.recording, again.kinds))
        return trace.select("trap", at(summary.collected))

    return Rows.deferred(each.defeated, every, lambda: trace.select("trap", at(each.shown), list(each.shown)))


# How often the thread was moved in that time, and the thread that ran at most of the moves, and how often.
def _moves(trace: Trace, each: Defeats) -> tuple[int, tuple[int, int] | None, int]:
    movers: Counter[tuple[int, int]] = Counter()
    for records in trace.recording.batches("migrate", BATCH):
        ns = records["ns"].astype(np.int64)
        mine = records[(records["tid"] == each.tid) & (ns >= each.start_ns) & (ns <= each.end_ns)]
        pairs, counts = np.unique(mine[["by_tgid", "by_tid"]], return_counts=True)
        movers.update(dict(zip(pairs.tolist(), counts.tolist(), strict=True)))
    if not movers:
        return 0, None, 0
    # Of equally many, the smallest.
    most = min(movers, key=lambda who: (-movers[who], who))
    return movers.total(), most, movers[most]


def _finding(trace: Trace, penalty: Penalty, each: Defeats) -> Finding[MigrationNumbers]:
    moves, mover, moved = _moves(trace, each)
    numbers = MigrationNumbers(
        completed=each.completed,
        defeated=each.defeated,
        gap_median_ns=each.gap_median_ns,
        used_ns=each.used_ns,
        window_ns=penalty.window_ns,
        slept_ns=each.slept_ns,
        migrations=moves,
        moved_by_tgid=None if mover is None else mover[0],
        moved_by_tid=None if mover is None else mover[1],
        moved_by_count=moved,
    )
    ongoing = penalties.is_ongoing(trace, penalty, each.end_ns)
    return Finding(
        kind=KIND,
        severity=Severity.WARNING,
        verdict="penalty wasted",
        subject=trace.subject(each.tgid, each.tid, each.vcpu if each.vcpu >= 0 else None),
        headline=f"{penalties.tense(ongoing, 'is', 'was')} moved to another core before it "
        f"{penalties.tense(ongoing, 'gets', 'got')} past {addresses.named(trace, each.rip, each.guest)}",
        rip=each.rip,
        start_ns=each.start_ns,
        end_ns=each.end_ns,
        ongoing=ongoing,
        confidence=Confidence.CERTAIN if moves else Confidence.LIKELY,
        confidence_reason="the moves were recorded, and each next trap came on another core"
        if moves
        else "each next trap came on another core, but no move was recorded",
        cause=(
            "At the end of a penalty the kernel switches detection off for two jiffies "
            f"({penalties.window(penalty)}), but only on the core on which the thread runs then. The thread "
            "was moved to another core before they were over, and its next split lock trapped there."
        ),
        facts=_facts(trace, numbers),
        numbers=numbers,
        remedies=[
            remedies.pin(),
            *remedies.no_penalty(trace, penalty),
            remedies.align(each.guest),
            remedies.no_detection(),
        ],
        evidence=_evidence(trace, each),
    )


def _facts(trace: Trace, n: MigrationNumbers) -> list[Fact]:
    lost = percent(n.defeated, n.completed)
    text = f"{n.completed:,} completed, {n.defeated:,} of them ({lost}) wasted"
    ran = "guest time was not recorded"
    if n.used_ns is not None:
        ran = f"{length(n.used_ns)} in the guest after those, of {length(n.defeated * n.window_ns)}"
    by = ""
    if n.moved_by_tgid is not None and n.moved_by_tid:
        who = thread(trace.subject(n.moved_by_tgid, n.moved_by_tid, None))
        by = f", {n.moved_by_count:,} of them while {who} was running"
    return [
        Fact("penalties", text),
        Fact("slept", f"{length(n.slept_ns)} in wasted penalties"),
        Fact("progress", ran),
        Fact("moved", f"{plural(n.migrations, 'time')}{by}"),
    ]


ANALYZER = Analyzer(
    kind=KIND,
    title="penalties defeated by migrations",
    needs=Needs(("trap", "migrate")),
    numbers=MigrationNumbers,
    find=find,
)
