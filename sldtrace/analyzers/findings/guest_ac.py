"""Finds vCPUs with VM exits by #AC exceptions that are the guest's own, and no split locks.

vmx_guest_inject_ac (arch/x86/kvm/vmx/vmx.c) hands #AC to the guest if the host does not detect split locks,
or the guest runs at CPL 3 with CR0.AM and EFLAGS.AC; on AMD every #AC is the guest's. Then
handle_guest_split_lock does not run: such an exit has no trap. Single exit records are matched with traps
one by one; else the counters are compared with the traps of the same time, where the traps are complete.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sldtrace.analyzers import thresholds
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Remedy, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
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
    if any(loss.kind == "trap" for loss in trace.recording.losses):
        return []
    counts = trace.exit_counts
    found = []
    for row in counts[counts["split_lock"]].to_dict("records"):
        own, evidence = _own(trace, row)
        if own >= thresholds.GUEST_AC_EXITS.value:
            found.append(_finding(trace, row, own, evidence))
    return sorted(found, key=lambda finding: finding.numbers.own, reverse=True)


# How many of the exits by #AC had no trap, and those among the single records.
def _own(trace: Trace, row: dict[Any, Any]) -> tuple[int, Rows]:
    traps, exits = (trace.rows(kind).thread(int(row["tgid"]), int(row["tid"])) for kind in ("trap", "exit"))
    mine, single = traps[traps["guest"]], exits[exits["split_lock"]]
    if mine.empty:
        return int(row["count"]), single
    # Recording ends for traps a moment before it does for exits: after the last trap nothing is known.
    enter = np.sort(mine["start_ns"].to_numpy())
    single = single[single["ns"].between(enter[0], enter[-1]) & (single["host_ns"] > 0)]
    begin = single["ns"].to_numpy()
    until = begin + single["host_ns"].to_numpy()
    trapped = np.searchsorted(enter, until, "right") > np.searchsorted(enter, begin, "left")
    if len(single):
        return int((~trapped).sum()), single[~trapped]
    surplus = int(row["count"]) - int(mine["start_ns"].between(row["since_ns"], row["ns"]).sum())
    return (surplus if surplus >= thresholds.GUEST_AC_SURPLUS.value * len(mine) else 0), single


def _finding(trace: Trace, row: dict[Any, Any], own: int, evidence: Rows) -> Finding[GuestAcNumbers]:
    start, end = int(row["since_ns"]), int(row["ns"])
    numbers = GuestAcNumbers(
        own=own,
        exits=int(row["count"]),
        matched_records=len(evidence),
        per_s=round(own * 1e9 / max(end - start, 1), 1),
    )
    return Finding(
        kind=KIND,
        severity=Severity.NOTICE,
        verdict="guest's own #AC",
        subject=trace.subject(int(row["tgid"]), int(row["tid"]), row["vcpu"]),
        headline=f"left the guest {plural(own, 'time')} by #AC without a split lock",
        rip=int(evidence["rip"].iloc[0]) if len(evidence) and evidence["rip"].nunique() == 1 else None,
        start_ns=start,
        end_ns=end,
        ongoing=False,
        confidence=Confidence.CERTAIN if len(evidence) else Confidence.LIKELY,
        confidence_reason="single exits were recorded, and no trap followed them"
        if len(evidence)
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
            Remedy("On the host, none is needed. In the guest, see what its #AC handler reports.", "none")
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
