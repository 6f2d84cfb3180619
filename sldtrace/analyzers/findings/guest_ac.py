"""Finds vCPUs with VM exits by #AC exceptions that are the guest's own, and no split locks.

vmx_guest_inject_ac (arch/x86/kvm/vmx/vmx.c) hands #AC to the guest if the host does not detect split locks,
or the guest runs at CPL 3 with CR0.AM and EFLAGS.AC; on AMD every #AC is the guest's. Then
handle_guest_split_lock does not run: such an exit has no trap. Single exit records are matched with traps
one by one; else the counters are compared with the traps of the same time, where the traps are complete.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sldtrace.analyzers import lost_records, thresholds
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Remedy, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset import exit_counts, folding
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.engine import ac_exits
from sldtrace.engine.ac_exits import AcExits
from sldtrace.host.exits import is_split_lock
from sldtrace.model.early_returns import Bools
from sldtrace.recording.layout import Records
from sldtrace.text.phrases import plural, rate

KIND = "guest-ac"


@dataclass(frozen=True)
class GuestAcNumbers(Numbers):
    """VM exits by #AC of one vCPU."""

    own: int  # of exits, those of the guest's own exceptions
    exits: int
    matched_records: int  # exits that were recorded one by one and are followed by no trap
    per_s: float  # of own


def find(trace: Trace) -> list[Finding[GuestAcNumbers]]:
    """One finding for each vCPU, the one with the most of them first."""
    folded = folding.fold(trace)
    rows = folded.counts.rows
    found = []
    for row in exit_counts.plain(
        trace.recording, rows[exit_counts.chosen(trace.recording, rows, is_split_lock)]
    ):
        if lost_records.count(trace, "trap", *trace.span_ns, int(row["tid"])):
            continue
        own = _own(folded.ac_exits.of(int(row["tgid"]), int(row["tid"])), int(row["count"]))
        if own.exits >= thresholds.GUEST_AC_EXITS.value:
            found.append(_finding(trace, row, own))
    return sorted(found, key=lambda finding: finding.numbers.own, reverse=True)


@dataclass(frozen=True)
class _Own:
    exits: int
    records: int  # of them, those that were recorded one by one
    rip: int | None  # of these, if it is the same


# How many of the exits by #AC had no trap. Recording ends for traps a moment before it does for exits: after
# the last trap nothing is known.
def _own(seen: AcExits, counted: int) -> _Own:
    if not seen.traps:
        return _Own(counted, seen.exits, seen.rip)
    if seen.matched:
        return _Own(seen.own, seen.own, seen.own_rip)
    surplus = counted - seen.counted_traps
    return _Own(surplus if surplus >= thresholds.GUEST_AC_SURPLUS.value * seen.traps else 0, 0, None)


# The single records that no trap followed; of a thread without traps all.
def _evidence(trace: Trace, tgid: int, tid: int) -> Rows:
    seen = folding.fold(trace).ac_exits.of(tgid, tid)

    def of_thread(records: Records) -> Bools:
        found: Bools = (records["tgid"] == tgid) & (records["tid"] == tid)
        return found

    def by_ac(exits: Records) -> Bools:
        return of_thread(exits) & ac_exits.by_ac(exits)

    if not seen.traps:
        return trace.evidence("exit", seen.exits, seen.times, by_ac)

    def own() -> Rows:
        traps, single = trace.select("trap", of_thread), trace.select("exit", by_ac)
        starts = traps["start_ns"].to_numpy()[traps["guest"].to_numpy()]
        single = single[single["ns"].between(starts[0], starts[-1]) & (single["host_ns"] > 0)]
        begin = single["ns"].to_numpy()
        following = starts[np.searchsorted(starts, begin, "left")]
        evidence: Rows = single[following > begin + single["host_ns"].to_numpy()]
        return evidence

    def shown(exits: Records) -> Bools:
        return by_ac(exits) & np.isin(exits["ns"].astype(np.int64), seen.own_times)

    return Rows.deferred(seen.own, own, lambda: trace.select("exit", shown, seen.own_times))


def _finding(trace: Trace, row: dict[str, Any], seen: _Own) -> Finding[GuestAcNumbers]:
    own, evidence = seen.exits, _evidence(trace, int(row["tgid"]), int(row["tid"]))
    start, end = int(row["since_ns"]), int(row["ns"])
    numbers = GuestAcNumbers(
        own=own,
        exits=int(row["count"]),
        matched_records=seen.records,
        per_s=round(own * 1e9 / max(end - start, 1), 1),
    )
    return Finding(
        kind=KIND,
        severity=Severity.NOTICE,
        verdict="guest's own #AC",
        subject=trace.subject(int(row["tgid"]), int(row["tid"]), row["vcpu"]),
        headline=f"left the guest {plural(own, 'time')} by #AC without a split lock",
        rip=seen.rip,
        start_ns=start,
        end_ns=end,
        ongoing=False,
        confidence=Confidence.CERTAIN if seen.records else Confidence.LIKELY,
        confidence_reason="single exits were recorded, and no trap followed them"
        if seen.records
        else "more exits by #AC were counted than traps",
        cause=(
            "The exception is the guest's own: it has alignment checks enabled (CR0.AM and EFLAGS.AC, at CPL "
            "3), or the host does not detect split locks. KVM injects it into the guest, without a penalty."
        ),
        facts=[
            Fact("exits", f"{own:,} of {numbers.exits:,} by #AC, {rate(numbers.per_s)} a second"),
        ],
        numbers=numbers,
        remedies=[
            Remedy(
                "Nothing is to be changed on the host. In the guest, see what its #AC handler reports.",
                "none",
            )
        ],
        evidence=evidence,
        evidence_kind="exit",
    )


ANALYZER = Analyzer(
    kind=KIND,
    title="guests' own #AC",
    needs=Needs(("counts",), after_trap=False),
    numbers=GuestAcNumbers,
    find=find,
)
