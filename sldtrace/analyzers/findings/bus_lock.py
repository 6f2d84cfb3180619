"""Finds vCPUs with VM exits by bus lock detection, which the VMM enables, often to slow such guests down.

KVM_CAP_X86_BUS_LOCK_EXIT: on Intel exit reason 74, after the instruction (Linux 5.12, fe6b6bc802b4); on AMD
exit code 0xa5, before it (bus lock threshold, 6.16, 89f9edf4c69d). They have no penalty. One exit is enough.
"""

from dataclasses import dataclass
from typing import Any

from sldtrace.analyzers import remedies, thresholds
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Remedy, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.analyzers.recovery import LOOK, RESTARTED
from sldtrace.dataset import exit_counts, folding
from sldtrace.dataset.trace import Trace
from sldtrace.host.exits import SVM, is_bus_lock
from sldtrace.model.early_returns import Bools
from sldtrace.recording.layout import Records
from sldtrace.text.phrases import length, percent, plural, rate

KIND = "bus-lock"


@dataclass(frozen=True)
class BusLockNumbers(Numbers):
    """VM exits by bus locks of one vCPU."""

    exits: int
    exits_per_s: float
    host_ns: int  # time outside of the guest for them
    share: float  # host_ns of the time that was counted

    @property
    def lost_ns(self) -> int:
        """The time outside of the guest."""
        return self.host_ns


def find(trace: Trace) -> list[Finding[BusLockNumbers]]:
    """One finding for each vCPU, the one with the most of them first."""
    rows = folding.fold(trace).counts.rows
    mine = exit_counts.chosen(trace.recording, rows, lambda isa, reason, _: is_bus_lock(isa, reason))
    return [_finding(trace, row) for row in exit_counts.plain(trace.recording, rows[mine])]


def _finding(trace: Trace, row: dict[str, Any]) -> Finding[BusLockNumbers]:
    tgid, tid = int(row["tgid"]), int(row["tid"])
    count, times = folding.fold(trace).bus_locks.of(tgid, tid)

    def chosen(exits: Records) -> Bools:
        found: Bools = (exits["tgid"] == tgid) & (exits["tid"] == tid) & (exits["reason"] == row["reason"])
        return found

    start, end = int(row["since_ns"]), int(row["ns"])
    numbers = BusLockNumbers(
        exits=int(row["count"]),
        exits_per_s=round(int(row["count"]) * 1e9 / max(end - start, 1), 1),
        host_ns=int(row["host_ns"]),
        share=round(int(row["host_ns"]) / max(end - start, 1), 4),
    )
    where = "at" if row["isa"] == SVM else "right after"
    slow = numbers.share >= thresholds.BUS_LOCK_WARNING_SHARE.value
    return Finding(
        kind=KIND,
        severity=Severity.WARNING if slow else Severity.NOTICE,
        verdict="bus locks",
        subject=trace.subject(tgid, tid, row["vcpu"]),
        headline=f"left the guest {plural(numbers.exits, 'time')} for a bus lock",
        rip=None,
        start_ns=start,
        end_ns=end,
        ongoing=end >= trace.span_ns[1],
        confidence=Confidence.CERTAIN,
        confidence_reason="the exits were counted",
        cause=(
            "The VMM enabled an exit for each bus lock (KVM_CAP_X86_BUS_LOCK_EXIT): a split lock, or a "
            f"locked access to uncached memory. The guest's address is {where} the instruction. The VMM "
            "decides how long the vCPU then waits (QEMU: -machine bus-lock-ratelimit); the kernel has no "
            "penalty for it."
        ),
        facts=[
            Fact(
                "exits",
                f"{numbers.exits:,}, {rate(numbers.exits_per_s)} a second; "
                f"{length(numbers.host_ns)} outside of the guest "
                f"({percent(numbers.host_ns, end - start)} of the time)",
            )
        ],
        numbers=numbers,
        remedies=[
            Remedy(
                "In the VMM: disable bus-lock exits, or allow more of them.",
                "bus locks of this guest slow down memory for all others",
                undo="enable them again",
                recovery=RESTARTED,
                verify=LOOK,
            ),
            remedies.align(guest=True),
        ],
        evidence=trace.evidence("exit", count, times, chosen),
        evidence_kind="exit",
    )


ANALYZER = Analyzer(
    kind=KIND,
    title="VM exits by bus locks",
    needs=Needs(("counts",), after_trap=False),
    numbers=BusLockNumbers,
    find=find,
)
