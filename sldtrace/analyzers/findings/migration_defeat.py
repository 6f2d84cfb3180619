"""Finds threads whose penalties are wasted: they are moved away from the core on which detection is off.

split_lock_warn switches detection off on the core it runs on, for two jiffies (sld_update_msr(false) and
schedule_delayed_work_on(cpu, ..., 2); b041b525dab9). On another core detection is on, and the thread traps on
the same instruction. So the penalty was wasted if the next trap comes on another core, sooner than two
jiffies after the end of the one before.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sldtrace.analyzers import cores, penalties, remedies, thresholds
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.subject import thread
from sldtrace.dataset.trace import Trace
from sldtrace.model.early_returns import Bools, Times
from sldtrace.model.penalty import Penalty
from sldtrace.prediction import recorded_penalty
from sldtrace.text.phrases import address, length, percent, plural

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


def find(trace: Trace) -> list[Finding[MigrationNumbers]]:
    """One finding for each thread and address, that with the most defeated penalties first."""
    penalty = recorded_penalty.penalty(trace)
    found = [_finding(trace, penalty, rows) for rows in defeats(trace)]
    return sorted(found, key=lambda finding: finding.numbers.defeated, reverse=True)


@per_trace
def defeats(trace: Trace) -> list[Rows]:
    """The completed traps of each thread and address with a finding, by TGID, TID and time.

    Columns: those of the trap, and `defeated`: the next trap comes on another core, while detection is off on
    this one; `home`, `away`: these two cores; `gap_ns`: from the end of this trap to the next; `used_ns`:
    guest time in the gap (-1: not watched).
    """
    penalty = recorded_penalty.penalty(trace)
    threads = trace.rows("trap").threads
    return [part for who in sorted(threads) for part in _of_thread(trace, penalty, threads[who])]


def _of_thread(trace: Trace, penalty: Penalty, rows: Rows) -> Iterator[Rows]:
    if int((rows["detection_off"] & rows["slept"]).sum()) < thresholds.MIGRATION_PENALTIES.value:
        return
    home, cpu = _core_of_penalty(trace, rows), cores.of_cpus(rows["start_cpu"], trace.core)
    # Not by `shift`, which makes floats of integers: two addresses in the kernel's half may then look alike.
    rip = rows["rip"].to_numpy()
    follows = np.append(rip[1:] == rip[:-1], False)
    gap = np.zeros(len(rows), np.int64)
    gap[:-1] = rows["start_ns"].to_numpy()[1:] - rows["end_ns"].to_numpy()[:-1]
    away = np.roll(cpu, -1)
    defeated = follows & (away != home) & is_within(gap, penalty)
    if not defeated.any():
        return
    used = np.roll(np.where(rows["exits_watched"], rows["guest_ns"], -1), -1)
    used[-1] = -1
    rows = rows.assign(home=home, away=away, defeated=defeated, gap_ns=gap, used_ns=used)
    for _, part in rows[rows["detection_off"] & rows["slept"]].groupby("rip"):
        count = int(part["defeated"].sum())
        share = thresholds.MIGRATION_SHARE.value * len(part)
        if count >= thresholds.MIGRATION_PENALTIES.value and count >= share:
            yield part


def is_within(gap_ns: Times, penalty: Penalty) -> Bools:
    """Does a thread trap so soon after the end of a penalty that detection is still off on that core?"""
    found: Bools = gap_ns < thresholds.MIGRATION_WINDOW_JIFFIES.value * penalty.tick_ns
    return found


# The core whose detection a trap switched off: of the CPU that wrote the MSR, else of that where it
# returned.
def _core_of_penalty(trace: Trace, rows: Rows) -> Times:
    home: Times = cores.of_cpus(rows["end_cpu"], trace.core)
    writes = trace.rows("detection").tid(int(rows["tid"].iloc[0])) if rows["tid"].iloc[0] else None
    if writes is None or writes.empty:
        return home
    at, written = writes["ns"].to_numpy(), cores.of_cpus(writes["cpu"], trace.core)
    # The last one before the return.
    last = np.searchsorted(at, rows["end_ns"].to_numpy(), "right") - 1
    inside = (last >= 0) & (at[np.maximum(last, 0)] >= rows["start_ns"].to_numpy())
    return np.where(inside, written[np.maximum(last, 0)], home)


def _finding(trace: Trace, penalty: Penalty, rows: Rows) -> Finding[MigrationNumbers]:
    lost = rows[rows["defeated"]]
    tid, rip = int(rows["tid"].iloc[0]), int(rows["rip"].iloc[0])
    start, end = int(rows["start_ns"].min()), int((lost["end_ns"] + lost["gap_ns"]).max())
    used = lost["used_ns"][lost["used_ns"] >= 0]
    moves = trace.rows("migrate").tid(tid)
    moves = moves[moves["ns"].between(start, end)]
    mover_tgid, mover_tid, moved = (None, None, 0) if moves.empty else moves.mode("by_tgid", "by_tid")
    numbers = MigrationNumbers(
        completed=len(rows),
        defeated=len(lost),
        gap_median_ns=int(lost["gap_ns"].median()),
        used_ns=int(used.sum()) if len(used) else None,
        window_ns=penalty.window_ns,
        slept_ns=int(lost["sleep_ns"].sum()),
        migrations=len(moves),
        moved_by_tgid=mover_tgid,
        moved_by_tid=mover_tid,
        moved_by_count=moved,
    )
    guest = bool(rows["guest"].iloc[0])
    return Finding(
        kind=KIND,
        severity=Severity.WARNING,
        verdict="penalty wasted",
        subject=trace.subject_of(rows),
        headline=f"is moved to another core before it gets past {'guest ' if guest else ''}address "
        f"{address(rip)}",
        rip=rip,
        start_ns=start,
        end_ns=end,
        ongoing=penalties.is_ongoing(trace, penalty, end),
        confidence=Confidence.CERTAIN if len(moves) else Confidence.LIKELY,
        confidence_reason="the moves were recorded, and each next trap came on another core"
        if len(moves)
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
            remedies.align(guest),
            remedies.no_detection(),
        ],
        evidence=lost,
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
