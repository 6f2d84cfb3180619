"""Finds bus locks: of guests, by VM exits that the VMM enabled, and of programs of the host, by #DB.

Guests: KVM_CAP_X86_BUS_LOCK_EXIT: on Intel exit reason 74, after the instruction (Linux 5.12, fe6b6bc802b4),
or bit 26 of another reason; on AMD exit code 0xa5, before it (bus lock threshold, 6.16, 89f9edf4c69d). They
have no penalty. Programs: handle_bus_lock (5.13, ebb1064e7c2e; AMD: 6.13, 408eb7417a92), which in the mode
ratelimit:N sleeps (ef4ae6e44131). One bus lock is enough.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sldtrace.analyzers import remedies, thresholds
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Remedy, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.analyzers.recovery import LOOK, RESTARTED
from sldtrace.dataset import exit_counts, folding
from sldtrace.dataset.trace import Trace
from sldtrace.engine.bus_locks import bus_lock_exits
from sldtrace.engine.tables import distinct
from sldtrace.host.exits import SVM, had_bus_lock, is_bus_lock
from sldtrace.model.early_returns import Bools
from sldtrace.recording.layout import Records
from sldtrace.text.phrases import address, length, percent, plural, rate

KIND = "bus-lock"
_SHOWN = 4  # addresses


@dataclass(frozen=True)
class BusLockNumbers(Numbers):
    """Bus locks of one thread."""

    bus_locks: int
    per_s: float
    by_exit: bool  # VM exits of a guest; otherwise #DB of a program
    on_other_exits: int  # of bus_locks: seen at a VM exit with another reason
    time_ns: int  # outside of the guest for them, or in handle_bus_lock
    share: float  # time_ns of the time that was counted
    addresses: Mapping[str, int]  # of a program: bus locks by the address after the instruction, most first

    @property
    def lost_ns(self) -> int:
        """The time outside of the guest, or in the handler."""
        return self.time_ns


def find(trace: Trace) -> list[Finding[BusLockNumbers]]:
    """One finding for each thread, the one with the most of them first."""
    found = [*_of_guests(trace), *_of_programs(trace)]
    return sorted(found, key=lambda each: -each.numbers.bus_locks)


def _of_guests(trace: Trace) -> Iterator[Finding[BusLockNumbers]]:
    rows = folding.fold(trace).counts.rows
    mine = exit_counts.chosen(
        trace.recording, rows, lambda isa, reason, _: is_bus_lock(isa, reason) or had_bus_lock(isa, reason)
    )
    threads: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in exit_counts.plain(trace.recording, rows[mine]):
        threads.setdefault((int(row["tgid"]), int(row["tid"])), []).append(row)
    for (tgid, tid), of in threads.items():
        yield _of_guest(trace, tgid, tid, of)


def _of_guest(trace: Trace, tgid: int, tid: int, rows: list[dict[str, Any]]) -> Finding[BusLockNumbers]:
    count, times = folding.fold(trace).bus_lock_exits.of(tgid, tid)

    def chosen(exits: Records) -> Bools:
        mine: Bools = (exits["tgid"] == tgid) & (exits["tid"] == tid)
        return mine & bus_lock_exits(exits["isa"], exits["reason"])

    start, end = min(int(row["since_ns"]) for row in rows), max(int(row["ns"]) for row in rows)
    other = sum(int(row["count"]) for row in rows if had_bus_lock(row["isa"], int(row["reason"])))
    numbers = _numbers(
        sum(int(row["count"]) for row in rows),
        # The time of another exit has another cause.
        sum(int(row["host_ns"]) for row in rows if is_bus_lock(row["isa"], int(row["reason"]))),
        end - start,
        by_exit=True,
        on_other_exits=other,
    )
    where = "at" if rows[0]["isa"] == SVM else "right after"
    also = f"; of these {other:,} at an exit with another reason" if other else ""
    return Finding(
        kind=KIND,
        severity=_severity(numbers),
        verdict="bus locks",
        subject=trace.subject(tgid, tid, rows[0]["vcpu"]),
        headline=f"left the guest {plural(numbers.bus_locks, 'time')} for a bus lock",
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
                f"{numbers.bus_locks:,}, {rate(numbers.per_s)} a second; "
                f"{length(numbers.time_ns)} outside of the guest "
                f"({percent(numbers.time_ns, end - start)} of the time){also}",
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


def _of_programs(trace: Trace) -> Iterator[Finding[BusLockNumbers]]:
    rows = folding.fold(trace).bus_locks.rows
    threads = distinct(rows[["tgid", "tid"]])
    for tgid, tid in threads.tolist():
        yield _of_program(trace, tgid, tid, rows[(rows["tgid"] == tgid) & (rows["tid"] == tid)])


def _of_program(trace: Trace, tgid: int, tid: int, rows: Records) -> Finding[BusLockNumbers]:
    count, times = folding.fold(trace).bus_locks.of(tgid, tid)

    def chosen(records: Records) -> Bools:
        mine: Bools = (records["tgid"] == tgid) & (records["tid"] == tid)
        return mine

    rows = rows[np.argsort(-rows["count"], kind="stable")]
    start, end = int(rows["since_ns"].min()), int(rows["ns"].max())
    numbers = _numbers(
        int(rows["count"].sum()),
        int(rows["handler_ns"].sum()),
        end - start,
        by_exit=False,
        addresses={
            address(rip) if rip else "others": count for rip, count in rows[["rip", "count"]].tolist()
        },
    )
    mode = trace.text("split_lock", "mode") or ""
    shown = ", ".join(f"{where} ({count:,})" for where, count in list(numbers.addresses.items())[:_SHOWN])
    more = len(numbers.addresses) - _SHOWN
    others = f" and {plural(more, 'more address', 'more addresses')}" if more > 0 else ""
    return Finding(
        kind=KIND,
        severity=_severity(numbers),
        verdict="bus locks",
        subject=trace.subject(tgid, tid, None),
        headline=f"had {plural(numbers.bus_locks, 'bus lock')}, each of which raised #DB",
        rip=int(rows["rip"][0]) or None,
        start_ns=start,
        end_ns=end,
        ongoing=end >= trace.span_ns[1],
        confidence=Confidence.CERTAIN,
        confidence_reason="they were counted in handle_bus_lock",
        cause=(
            "The program executes split locks, or locked accesses to uncached memory. The CPU raises #DB "
            f"after each; addresses are those of the next instruction. {_effect(mode)}"
        ),
        facts=[
            Fact(
                "#DB",
                f"{numbers.bus_locks:,}, {rate(numbers.per_s)} a second; {length(numbers.time_ns)} in the "
                f"handler ({percent(numbers.time_ns, end - start)} of the time)",
            ),
            Fact("after", shown + others),
        ],
        numbers=numbers,
        remedies=[remedies.align(guest=False)],
        evidence=trace.evidence("bus_lock", count, times, chosen),
        evidence_kind="bus_lock",
    )


def _effect(mode: str) -> str:
    if mode.startswith("ratelimit:"):
        limit = mode.partition(":")[2]
        return (
            f"split_lock_detect={mode}: above {limit} a second, of the whole host, the thread sleeps 20 ms "
            "at a time in the handler until there is room; no signal ends this sleep."
        )
    if mode == "fatal":
        return "split_lock_detect=fatal: the kernel sends SIGBUS."
    return "The kernel only logs them; it has no penalty for them."


def _severity(numbers: BusLockNumbers) -> Severity:
    slow = numbers.share >= thresholds.BUS_LOCK_WARNING_SHARE.value
    return Severity.WARNING if slow else Severity.NOTICE


def _numbers(
    count: int,
    time_ns: int,
    counted_ns: int,
    *,
    by_exit: bool,
    on_other_exits: int = 0,
    addresses: Mapping[str, int] | None = None,
) -> BusLockNumbers:
    counted_ns = max(counted_ns, 1)
    return BusLockNumbers(
        bus_locks=count,
        per_s=round(count * 1e9 / counted_ns, 1),
        by_exit=by_exit,
        on_other_exits=on_other_exits,
        time_ns=time_ns,
        share=round(time_ns / counted_ns, 4),
        addresses=addresses or {},
    )


ANALYZER = Analyzer(
    kind=KIND,
    title="VM exits by bus locks",
    needs=Needs(("counts",), after_trap=False),
    numbers=BusLockNumbers,
    find=find,
)
