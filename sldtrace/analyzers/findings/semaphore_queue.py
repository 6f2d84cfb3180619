"""Finds threads that wait for each other's penalties: the semaphore after the sleep is one for the host.

split_lock_warn takes buslock_sem after its sleep, and delayed work releases it two jiffies later
(__split_lock_reenable_unlock, b041b525dab9). So no more than HZ/2 penalties a second complete on the whole
host. A free semaphore is taken without waiting, and a held one is released at a tick: a wait of a jiffy or
more is a queue.
"""

from dataclasses import dataclass

import numpy as np

from sldtrace.analyzers import cpu_waits, penalties, remedies, thresholds
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.cpu_waits import CpuWaits
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset import folding
from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.subject import thread
from sldtrace.dataset.trace import Trace
from sldtrace.engine.keys import joined
from sldtrace.engine.semaphore_waits import WAIT_JIFFIES
from sldtrace.engine.tables import Array
from sldtrace.model.early_returns import Bools
from sldtrace.model.penalty import Penalty
from sldtrace.prediction import recorded_penalty
from sldtrace.recording import schema
from sldtrace.recording.layout import Records
from sldtrace.text.phrases import length, percent, plural, rate

KIND = "semaphore-queue"

_SHOWN = 5


@dataclass(frozen=True)
class Victim:
    """A thread that waits for the penalties of others."""

    tgid: int
    tid: int
    waits: int
    waited_ns: int
    share: float  # waited_ns of the time from its first trap to its last


@dataclass(frozen=True)
class QueueNumbers(Numbers):
    """Waits for the penalty's semaphore on the whole host."""

    threads: int  # victims
    processes: int  # of the victims
    holders: int  # threads that held the semaphore
    waits: int  # of the victims, a jiffy long or more
    waited_ns: int  # in all
    longest_ns: int
    completed: int  # penalties at the semaphore
    completed_per_s: float
    most_per_s: int  # no kernel with this HZ completes more
    victims: tuple[Victim, ...]  # the longest wait first
    cpu: CpuWaits | None  # of the victims, in the whole recording; None: not sampled

    @property
    def affected(self) -> list[tuple[int, int]]:
        """The victims."""
        return [(each.tgid, each.tid) for each in self.victims]

    @property
    def lost_ns(self) -> int:
        """The time in waits."""
        return self.waited_ns


def find(trace: Trace) -> list[Finding[QueueNumbers]]:
    """One finding for the host, or none."""
    found = victims(trace)
    return [_finding(trace, found)] if len(found) else []


_VICTIMS = np.dtype(
    [
        ("number", "i8"),
        ("tgid", "i8"),
        ("tid", "i8"),
        ("vcpu", "i8"),
        ("waits", "i8"),
        ("waited_ns", "i8"),
        ("longest_ns", "i8"),
        ("share", "f8"),
    ]
)


@per_trace
def victims(trace: Trace) -> Array:
    """One row a thread that waits, the longest wait first; none if no other thread is seen to hold it.

    Fields: number (of the thread in the fold), tgid, tid, vcpu (-1: not known), waits, waited_ns, longest_ns,
    share.
    """
    folded = folding.fold(trace)
    rows, sums = folded.waits.threads, folded.threads.sums
    chosen = np.flatnonzero(rows["waits"] >= thresholds.QUEUE_WAITS.value)
    if np.count_nonzero(rows["holds"]) < thresholds.QUEUE_HOLDERS.value:
        chosen = chosen[:0]
    # In order of appearance.
    chosen = chosen[np.argsort(sums["start_ns"][chosen], kind="stable")]
    rows, sums = rows[chosen], sums[chosen]
    found = np.zeros(len(chosen), _VICTIMS)
    for name in ("waits", "waited_ns", "longest_ns"):
        found[name] = rows[name]
    found["number"], found["vcpu"] = chosen, sums["vcpu"]
    found["tgid"], found["tid"] = folded.numbers.tgid[chosen], folded.numbers.tid[chosen]
    found["share"] = (rows["waited_ns"] / np.maximum(sums["end_ns"] - sums["start_ns"], 1)).round(4)
    found = found[found["share"] >= thresholds.QUEUE_SHARE.value]
    return found[np.argsort(-found["waited_ns"], kind="stable")]


# A wait that a signal ended does not count: see early_return_loops.
def _evidence(trace: Trace, penalty: Penalty, found: Array) -> Rows:
    least_ns = np.uint64(WAIT_JIFFIES * penalty.tick_ns)
    took = np.uint32(schema.current().enums["trap_flags"].values["SEMAPHORE"])
    who = joined(found["tgid"], found["tid"])

    def chosen(traps: Records) -> Bools:
        acquired: Bools = (traps["flags"] & took != 0) & (traps["semaphore_result"] == 0)
        acquired &= traps["semaphore_ns"] >= least_ns
        return acquired & np.isin(joined(traps["tgid"], traps["tid"]), who)

    times = folding.fold(trace).waits.shown.times(found["number"].tolist())
    return trace.evidence("trap", int(found["waits"].sum()), times, chosen)


def _finding(trace: Trace, found: Array) -> Finding[QueueNumbers]:
    penalty = recorded_penalty.penalty(trace)
    folded = folding.fold(trace)
    who = found["number"]
    queue = folded.waits.queue(who)
    start, end = queue.start_ns, queue.end_ns
    processes = len({*found["tgid"].tolist()})
    bound = 1_000_000_000 // penalty.window_ns
    numbers = QueueNumbers(
        threads=len(found),
        processes=processes,
        holders=queue.holders,
        waits=int(found["waits"].sum()),
        waited_ns=int(found["waited_ns"].sum()),
        longest_ns=int(found["longest_ns"].max()),
        completed=queue.completed,
        completed_per_s=round(queue.completed * 1e9 / max(end - start, 1), 1),
        most_per_s=bound,
        victims=tuple(Victim(*row) for row in found[["tgid", "tid", "waits", "waited_ns", "share"]].tolist()),
        cpu=cpu_waits.measure(folded.run_delays.of_thread(*each) for each in found[["tgid", "tid"]].tolist()),
    )
    confidence, reason = _confidence(numbers)
    whose = f" of {processes:,} VMs or programs" if processes > 1 else ""
    ongoing = penalties.is_ongoing(trace, penalty, end)
    if len(found) == 1:
        waited = (
            f"1 thread {penalties.tense(ongoing, 'waits', 'waited')} for the split-lock penalties of others"
        )
    else:
        wait = penalties.tense(ongoing, "wait", "waited")
        waited = f"{len(found):,} threads{whose} {wait} for each other's split-lock penalties"
    return Finding(
        kind=KIND,
        severity=Severity.WARNING,
        verdict="queue",
        subject=None,
        headline=waited,
        rip=None,
        start_ns=start,
        end_ns=end,
        ongoing=ongoing,
        confidence=confidence,
        confidence_reason=reason,
        cause=(
            "After the sleep of its penalty a thread takes a semaphore, one for the whole host, and holds it "
            "until detection is on again on its core, two to three jiffies later. Threads of any VM that "
            f"take split locks at that time wait for it: no more than {bound:,} penalties a second complete "
            "on this host."
        ),
        facts=_facts(trace, found, numbers),
        numbers=numbers,
        remedies=[
            *remedies.no_penalty(trace, penalty),
            remedies.fewer_at_once(),
            remedies.align(bool(folded.threads.sums["guest"][who].any())),
            remedies.no_detection(),
        ],
        evidence=_evidence(trace, penalty, found),
    )


# The end of a wait is seen when the thread runs again.
def _confidence(n: QueueNumbers) -> tuple[Confidence, str]:
    if n.cpu is None or not n.cpu.counts:
        return Confidence.CERTAIN, "each wait was measured"
    return (
        Confidence.LIKELY,
        f"each wait was measured, but the threads waited for a CPU for {n.cpu.share} of the time, too: part "
        "of the waits may be that",
    )


def _facts(trace: Trace, found: Array, n: QueueNumbers) -> list[Fact]:
    waited = f"{plural(n.waits, 'time')}, {length(n.waited_ns)} in all, at most {length(n.longest_ns)}"
    completed = f"{rate(n.completed_per_s)} a second of {plural(n.holders, 'thread')}"
    lines = []
    for row in found[:_SHOWN]:
        vcpu = int(row["vcpu"])
        who = trace.subject(int(row["tgid"]), int(row["tid"]), vcpu if vcpu >= 0 else None)
        of = "" if who.vcpu is None else f"vCPU {who.vcpu} of "
        lines.append(f"{of}{thread(who)} {percent(float(row['share']), 1)} of its time")
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return [
        Fact("waited", waited),
        Fact("penalties", f"{completed}; at most {n.most_per_s:,}"),
        Fact("victims", "; ".join(lines) + more),
        *cpu_waits.fact(n.cpu),
    ]


ANALYZER = Analyzer(
    kind=KIND,
    title="queues at the penalty's semaphore",
    needs=Needs(("trap",), probes=("down_interruptible",)),
    numbers=QueueNumbers,
    find=find,
)
