"""Finds threads that serve penalties for nothing: they are moved away from the core that let them go.

split_lock_warn switches detection off on the core it runs on, for two jiffies (sld_update_msr(false) and
schedule_delayed_work_on(cpu, ..., 2); b041b525dab9). A thread that goes on on another core meets detection
there and traps on the same instruction. So such a trap comes sooner than two jiffies after the release, on
another core.
"""

from typing import Any

import numpy as np
import pandas as pd

from sldtrace.analyzers import cores, remedies
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Severity
from sldtrace.analyzers.loops import as_before
from sldtrace.analyzers.needs import Needs
from sldtrace.analyzers.once import per_trace
from sldtrace.model import penalty as kernel_penalty
from sldtrace.model.penalty import WINDOW_JIFFIES, Penalty
from sldtrace.phrases import length, ms, percent, plural, thread
from sldtrace.rules.early_returns import Bools, Times
from sldtrace.trace import Trace

KIND = "migration-defeat"
TITLE = "penalties defeated by migrations"
NEEDS = Needs(("trap", "migrate"))

_LEAST = 3  # defeated penalties; once or twice the load balancer moves any thread
_SHARE = 0.5  # of the penalties served


def find(trace: Trace) -> list[Finding]:
    """One finding for each thread and address, that with the most defeated penalties first."""
    penalty = kernel_penalty.of_facts(trace.facts)
    found = [
        _finding(trace, penalty, rows)
        for _, rows in defeats(trace).groupby(["tgid", "tid", "rip"], sort=False)
    ]
    return sorted(found, key=lambda finding: finding.numbers["defeated"], reverse=True)


@per_trace
def defeats(trace: Trace) -> pd.DataFrame:
    """The served traps of the threads with a finding: columns of the trap, and

    defeated: the next trap was one on another core within the window; gap_ns: until then; used_ns: guest
    time until then (Int64, <NA>: not watched); home, away: the two cores.
    """
    penalty = kernel_penalty.of_facts(trace.facts)
    rows = trace.traps.sort_values(["tgid", "tid", "enter_ns"], kind="stable", ignore_index=True)
    rows = rows.assign(home=_released_on(trace, rows), away=cores.of(rows["enter_cpu"], trace.core))
    after = as_before(rows["tgid"]) & as_before(rows["tid"]) & as_before(rows["rip"])
    follows = np.concatenate([after[1:], [False]])[: len(rows)]
    gap = np.zeros(len(rows), np.int64)
    gap[:-1] = rows["enter_ns"].to_numpy()[1:] - rows["exit_ns"].to_numpy()[:-1]
    away = np.roll(rows["away"].to_numpy(), -1)
    used = rows["guest_ns"].astype("Int64").where(rows["exits_watched"]).shift(-1)
    defeated = follows & (away != rows["home"].to_numpy()) & is_within(gap, penalty)
    rows = rows.assign(defeated=defeated, gap_ns=gap, used_ns=used, away=away)
    served = rows[rows["released"] & rows["slept"]]
    by_thread = served.groupby(["tgid", "tid", "rip"], sort=False)["defeated"]
    count = by_thread.transform("sum")
    return served[(count >= _LEAST) & (count >= _SHARE * by_thread.transform("size"))]


def is_within(gap_ns: Times, penalty: Penalty) -> Bools:
    """Does a thread trap so soon after its release that detection is still off on that core?"""
    found: Bools = gap_ns < WINDOW_JIFFIES * penalty.tick_ns
    return found


# The core whose detection a trap switched off: of the CPU that wrote the MSR, else of that where it
# returned.
def _released_on(trace: Trace, rows: pd.DataFrame) -> Times:
    home: Times = cores.of(rows["exit_cpu"], trace.core)
    writes = trace.detection[(trace.detection["tid"] != 0)]
    if writes.empty or rows.empty:
        return home
    order = np.argsort(rows["exit_ns"].to_numpy(), kind="stable")
    left = pd.DataFrame({"ns": rows["exit_ns"].to_numpy()[order], "tid": rows["tid"].to_numpy()[order]})
    right = writes[["ns", "tid", "cpu"]].assign(at=writes["ns"]).sort_values("ns")
    matched = pd.merge_asof(left, right, on="ns", by="tid")
    inside = (matched["at"] >= rows["enter_ns"].to_numpy()[order]).to_numpy()
    written = cores.of(matched["cpu"].fillna(0), trace.core)
    home[order] = np.where(inside, written, home[order])
    return home


def _finding(trace: Trace, penalty: Penalty, rows: pd.DataFrame) -> Finding:
    lost = rows[rows["defeated"]]
    tgid, tid, rip = (int(rows[name].iloc[0]) for name in ("tgid", "tid", "rip"))
    known = rows["vcpu"].dropna()
    start, end = int(rows["enter_ns"].min()), int((lost["exit_ns"] + lost["gap_ns"]).max())
    used = lost["used_ns"].dropna()
    moves = trace.migrations[(trace.migrations["tid"] == tid) & trace.migrations["ns"].between(start, end)]
    window = WINDOW_JIFFIES * penalty.tick_ns
    numbers: dict[str, Any] = {
        "served": len(rows),
        "defeated": len(lost),
        "gap_median_ns": int(lost["gap_ns"].median()),
        "used_ns": int(used.sum()) if len(used) else None,
        "window_ns": window,
        "slept_ns": int(lost["sleep_ns"].sum()),
        "migrations": len(moves),
        **_mover(moves),
    }
    guest = bool(rows["guest"].iloc[0])
    return Finding(
        kind=KIND,
        severity=Severity.WARNING,
        verdict="punished for nothing",
        subject=trace.subject(tgid, tid, int(known.iloc[0]) if len(known) else None),
        headline=f"is moved away before it gets past {'guest ' if guest else ''}address {rip:#x}",
        rip=rip,
        start_ns=start,
        end_ns=end,
        ongoing=trace.span_ns[1] - end < 2 * penalty.longest_sleep_ns,
        confidence=Confidence.CERTAIN if len(moves) else Confidence.LIKELY,
        because="the moves were recorded, and each next trap came on another core"
        if len(moves)
        else "each next trap came on another core, but no move was recorded",
        cause=(
            "When a penalty has been served the kernel switches detection off, but only on the core on "
            "which the "
            f"thread runs then, for two jiffies ({ms(window)} to {ms(window + penalty.tick_ns)} ms). This "
            "thread "
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


def _mover(moves: pd.DataFrame) -> dict[str, int | None]:
    if moves.empty:
        return {"moved_by_tgid": None, "moved_by_tid": None, "moved_by_count": 0}
    ranked = moves.groupby(["by_tgid", "by_tid"]).size().sort_values(ascending=False, kind="stable")
    tgid, tid = ranked.index[0]
    return {"moved_by_tgid": int(tgid), "moved_by_tid": int(tid), "moved_by_count": int(ranked.iloc[0])}


def _facts(trace: Trace, n: dict[str, Any]) -> list[Fact]:
    served, lost = n["served"], n["defeated"]
    text = f"{served:,} served, {lost:,} of them ({percent(lost, served)}) for nothing"
    ran = "guest time was not recorded"
    if n["used_ns"] is not None:
        ran = f"{length(n['used_ns'])} in the guest after those, of {length(lost * n['window_ns'])}"
    by = ""
    if n["moved_by_tid"]:
        who = thread(trace.subject(n["moved_by_tgid"], n["moved_by_tid"], None))
        by = f", {n['moved_by_count']:,} of them while {who} was running"
    movers = ("migrations", "moved_by_tgid", "moved_by_tid", "moved_by_count")
    return [
        Fact("penalties", text, {"served": served, "defeated": lost}),
        Fact("slept", f"{length(n['slept_ns'])} in vain", {"slept_ns": n["slept_ns"]}),
        Fact("progress", ran, {"used_ns": n["used_ns"], "window_ns": n["window_ns"]}),
        Fact("moved", f"{plural(n['migrations'], 'time')}{by}", {name: n[name] for name in movers}),
    ]
