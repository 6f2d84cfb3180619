"""Finds threads that make progress, but spend a large part of their time in penalties.

A penalty that no signal ends sleeps for 10 ms in jiffies, and detection is off for two jiffies after it
(split_lock_warn, b041b525dab9): a guest that takes split locks all the time runs less than half of it.
Threads that another finding explains (queue, migrations) are left to that finding. Of a thread with loops of
early returns, the time outside of them counts. A sleep that lasts longer than the kernel's longest one is
late: its timer has expired, and the thread waits for a CPU. That time is not the penalty's.
"""

from dataclasses import dataclass

import numpy as np

from sldtrace.analyzers import cpu_waits, penalties, remedies, thresholds
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.cpu_waits import CpuWaits
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Severity
from sldtrace.analyzers.findings import semaphore_queue
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset import folding
from sldtrace.dataset.folding import Folded
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.engine.chains import COUNTERS
from sldtrace.engine.loops import Loop
from sldtrace.engine.tables import Array
from sldtrace.model.early_returns import Bools, penalized
from sldtrace.model.penalty import Penalty
from sldtrace.prediction import recorded_penalty
from sldtrace.recording.layout import Records
from sldtrace.text.phrases import length, percent, plural

KIND = "penalty-slowdown"


@dataclass(frozen=True)
class SlowdownNumbers(Numbers):
    """The penalties of one thread, without those of its loops of early returns."""

    traps: int  # with a penalty
    completed: int  # of traps
    early_returns: int  # of traps
    slept_ns: int  # without late_ns
    late_ns: int  # after the ends of its sleeps, until it ran: it waited for a CPU
    waited_ns: int  # for the semaphore
    penalty_share: float  # slept or waited, of span_ns
    longest_ns: int  # the longest penalty
    guest_ns: int | None  # guest time between the traps; None: not watched, no guest, or with loops
    in_loops_ns: int  # from the begin to the end of its loops, with short pauses between them
    span_ns: int  # from the first trap to the end of the last, without in_loops_ns
    addresses: int  # of the instructions
    cpu: CpuWaits | None  # of the whole recording; None: not sampled

    @property
    def lost_ns(self) -> int:
        """The time in penalties, with their waits for the semaphore."""
        return self.slept_ns + self.waited_ns


def find(trace: Trace) -> list[Finding[SlowdownNumbers]]:
    """One finding for each thread, the one with the largest share of penalties first."""
    penalty = recorded_penalty.penalty(trace)
    folded = folding.fold(trace)
    sums, tid, loops = (
        folded.penalties.sums.copy(),
        folded.numbers.tid,
        np.zeros(len(folded.numbers.tid), int),
    )
    for number, phases in _phases(folded).items():
        loops[number] = _leave_out(sums[number], phases)
    # Without the last one: the time until the next is not known, and a few rare penalties would look like
    # many.
    lost = sums["slept_ns"] + sums["waited_ns"] - sums["last_lost_ns"]
    slowed = is_slowed(sums["traps"], lost, sums["last_start_ns"] - sums["start_ns"] - loops)
    explained = _explained(trace)
    chosen = [n for n in np.flatnonzero(slowed).tolist() if int(tid[n]) not in explained]
    found = [
        _finding(trace, penalty, sums[n], int(loops[n]), int(folded.numbers.tgid[n]), int(tid[n]))
        for n in chosen
    ]
    # Of equal shares, the earliest comes first.
    found.sort(key=lambda finding: finding.start_ns)
    return sorted(found, key=lambda finding: finding.numbers.penalty_share, reverse=True)


def is_slowed(count: Array, lost_ns: Array, span_ns: Array) -> Bools:
    """Is a thread slowed? lost_ns: time in penalties before the last; span_ns: from the first to the last."""
    enough = thresholds.SLOWDOWN_SHARE.value * span_ns
    slowed: Bools = (count >= thresholds.SLOWDOWN_PENALTIES.value) & (lost_ns >= enough)
    return slowed


# TIDs of threads that another finding explains.
def _explained(trace: Trace) -> set[int]:
    return {
        *(each.tid for each in folding.fold(trace).defeats.found()),
        *map(int, semaphore_queue.victims(trace)["tid"]),
    }


# The phases of loops of each thread that has any, by its number: see LoopSummary.phases_of_thread.
def _phases(folded: Folded) -> dict[int, Array]:
    loops: dict[int, list[Loop]] = {}
    for loop in folded.loops.loops():
        number = folded.numbers.look_up(loop.tgid, loop.tid)
        if number is not None:
            loops.setdefault(number, []).append(loop)
    return {number: folded.loops.phases_of_thread(each) for number, each in loops.items()}


# Takes what is in these phases out of a thread's sums. Returns how long they last.
def _leave_out(sums: np.void, phases: Array) -> int:
    inside = {name: int((phases["after"][name] - phases["before"][name]).sum()) for name, _ in COUNTERS}
    sums["traps"] -= inside["traps"]
    sums["early_returns"] -= inside["early"]
    sums["completed"] = sums["traps"] - sums["early_returns"]
    sums["slept_ns"] -= inside["slept_ns"]
    sums["waited_ns"] -= inside["waited_ns"]
    if (phases["end"] > sums["last_start_ns"]).any():
        sums["last_lost_ns"] = 0
    return int((phases["end"] - phases["start"]).sum())


# All penalties of a thread, those in loops included.
def _evidence(trace: Trace, tgid: int, tid: int) -> Rows:
    folded = folding.fold(trace)
    number = folded.numbers.look_up(tgid, tid)
    assert number is not None

    def chosen(traps: Records) -> Bools:
        found: Bools = (traps["tgid"] == tgid) & (traps["tid"] == tid) & penalized(traps)
        return found

    count = int(folded.penalties.sums["traps"][number])
    return trace.evidence("trap", count, folded.penalties.shown.times([number]), chosen)


# sums: a row of PenaltySums, without what is in loops, which last `loops_ns`.
def _finding(
    trace: Trace, penalty: Penalty, sums: np.void, loops_ns: int, tgid: int, tid: int
) -> Finding[SlowdownNumbers]:
    start, end, guest, vcpu = (sums[name].item() for name in ("start_ns", "end_ns", "guest", "vcpu"))
    slept, waited = int(sums["slept_ns"]), int(sums["waited_ns"])
    cpu = cpu_waits.measure([folding.fold(trace).run_delays.of_thread(tgid, tid)])
    numbers = SlowdownNumbers(
        traps=int(sums["traps"]),
        completed=int(sums["completed"]),
        early_returns=int(sums["early_returns"]),
        slept_ns=slept,
        late_ns=int(sums["late_ns"]),
        waited_ns=waited,
        penalty_share=round((slept + waited) / max(end - start - loops_ns, 1), 4),
        longest_ns=int(sums["longest_ns"]),
        guest_ns=int(sums["guest_ns"]) if guest and sums["watched"] > 1 and not loops_ns else None,
        in_loops_ns=loops_ns,
        span_ns=end - start - loops_ns,
        addresses=int(sums["addresses"]),
        cpu=cpu,
    )
    share = percent(numbers.penalty_share, 1)
    ongoing = penalties.is_ongoing(trace, penalty, end)
    spends, makes = (penalties.tense(ongoing, *each) for each in (("spends", "spent"), ("makes", "made")))
    besides = " besides its loops" if loops_ns else ""
    waiting = f" and {cpu.share} waiting for a CPU" if cpu and cpu.counts else ""
    severe = numbers.penalty_share >= thresholds.SLOWDOWN_WARNING_SHARE.value
    return Finding(
        kind=KIND,
        severity=Severity.WARNING if severe else Severity.NOTICE,
        verdict="slowed",
        subject=trace.subject(tgid, tid, vcpu if vcpu >= 0 else None),
        headline=f"{spends} {share} of its time{besides} in penalties{waiting}, but {makes} progress",
        rip=int(sums["rip"]) if numbers.addresses == 1 else None,
        start_ns=start,
        end_ns=end,
        ongoing=ongoing,
        confidence=Confidence.CERTAIN,
        confidence_reason="the time in the penalties was measured",
        cause=(
            f"{penalties.explained(penalty)} Detection is then off on its core for "
            f"{penalties.window(penalty)}, and the thread makes progress until the next split lock after "
            f"that.{penalties.assumption(penalty)}{cpu_waits.sentence(cpu)}"
        ),
        facts=_facts(numbers, bool(guest)),
        numbers=numbers,
        remedies=[
            *remedies.no_penalty(trace, penalty),
            *cpu_waits.remedies(cpu, tgid),
            remedies.align(guest),
            remedies.no_detection(),
        ],
        evidence=_evidence(trace, tgid, tid),
    )


def _late(n: SlowdownNumbers) -> list[Fact]:
    if not n.late_ns or n.late_ns < thresholds.CPU_WAIT_SHARE.value * n.span_ns:
        return []
    return [
        Fact("late", f"{length(n.late_ns)} after the ends of its sleeps until it ran, which is no penalty")
    ]


def _facts(n: SlowdownNumbers, guest: bool) -> list[Fact]:
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
        *_late(n),
        *cpu_waits.fact(n.cpu),
        *([Fact("progress", ran)] if guest and not n.in_loops_ns else []),
        *(
            [Fact("besides", f"{length(n.in_loops_ns)} in loops, which have a finding")]
            if n.in_loops_ns
            else []
        ),
    ]


ANALYZER = Analyzer(
    kind=KIND,
    title="threads slowed by penalties",
    needs=Needs(("trap",)),
    numbers=SlowdownNumbers,
    find=find,
)
