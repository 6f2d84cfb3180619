"""Finds threads of a VMM that wait inside KVM for a vCPU that sleeps its penalty.

A vCPU is penalized inside KVM_RUN: it holds vcpu->mutex, and is a reader of kvm->srcu
(Documentation/virt/kvm/locking.rst). A thread that wants the one, or synchronizes the other (a change of
memory slots does), waits until the penalty is over. A penalty's sleep is whole jiffies, so a shorter wait has
another cause.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sldtrace.analyzers import remedies, thresholds
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.model.penalty import Penalty
from sldtrace.prediction import recorded_penalty
from sldtrace.text.escape import escape
from sldtrace.text.phrases import address, length, percent, plural

KIND = "lock-hold"

_LOCKS = {"srcu": "kvm->srcu", "mutex": "a mutex"}


@dataclass(frozen=True)
class Caller:
    """A function of KVM that waits for the lock."""

    function: str  # escaped
    waits: int


@dataclass(frozen=True)
class LockHoldNumbers(Numbers):
    """Waits for one lock that a vCPU holds while it is penalized."""

    waits: int
    threads: int  # that waited
    waited_ns: int  # in all
    longest_ns: int
    penalized_ns: int  # of waited_ns, how long the vCPU was in traps
    interrupted: int  # waits that a signal ended
    lock: str  # as `what` of the stall record: srcu or mutex
    callers: tuple[Caller, ...]  # the most waits first
    usual_waits: int  # for this lock while no vCPU of the process was in a trap
    usual_longest_ns: int | None  # None: no such waits


def find(trace: Trace) -> list[Finding[LockHoldNumbers]]:
    """One finding for each vCPU and lock, the longest wait in all first."""
    penalty = recorded_penalty.penalty(trace)
    rows = trace.rows("stall")
    usual = _without_penalty(trace, rows[rows["penalized_tid"] == 0])
    rows = rows[
        (rows["penalized_tid"] != 0)
        & (rows["waited_ns"] >= thresholds.LOCK_WAIT_JIFFIES.value * penalty.tick_ns)
    ]
    found = [
        _finding(trace, penalty, part, usual) for _, part in rows.groupby("tgid", "penalized_tid", "what")
    ]
    return sorted(found, key=lambda finding: finding.numbers.waited_ns, reverse=True)


# usual: the waits while no vCPU was penalized, of all processes.
def _finding(trace: Trace, penalty: Penalty, rows: Rows, usual: Rows) -> Finding[LockHoldNumbers]:
    tgid, tid = int(rows["tgid"].iloc[0]), int(rows["penalized_tid"].iloc[0])
    traps = trace.rows("trap").tid(tid)
    lock = _LOCKS.get(str(rows["what"].iloc[0]), "a lock")
    waited, longest = int(rows["waited_ns"].sum()), int(rows["waited_ns"].max())
    penalized = int(_penalized_ns(rows, traps).sum())
    usual = usual[(usual["tgid"] == tgid) & (usual["what"] == rows["what"].iloc[0])]
    numbers = LockHoldNumbers(
        waits=len(rows),
        threads=int(rows["tid"].nunique()),
        waited_ns=waited,
        longest_ns=longest,
        penalized_ns=penalized,
        interrupted=int((rows["result"] < 0).sum()),
        lock=str(rows["what"].iloc[0]),
        callers=_callers(trace, rows),
        usual_waits=len(usual),
        usual_longest_ns=int(usual["waited_ns"].max()) if len(usual) else None,
    )
    long = thresholds.LOCK_WARNING_PENALTIES.value * penalty.shortest_sleep_ns
    sure = penalized >= thresholds.LOCK_CERTAIN_SHARE.value * waited
    return Finding(
        kind=KIND,
        severity=Severity.WARNING if longest >= long else Severity.NOTICE,
        verdict="lock held",
        subject=trace.subject(tgid, tid, traps.last_known("vcpu")),
        headline=f"holds {lock} while it is penalized: {plural(numbers.threads, 'thread')} waited for it",
        rip=None,
        start_ns=int(rows["ns"].min()),
        end_ns=int(rows["end_ns"].max()),
        ongoing=False,
        confidence=Confidence.CERTAIN if sure else Confidence.POSSIBLE,
        confidence_reason=f"it was penalized for {percent(penalized, waited)} of the time of the waits",
        cause=(
            "A vCPU sleeps its penalty inside KVM_RUN, with vcpu->mutex held and as a reader of kvm->srcu. A "
            f"thread that needs {lock} waits for the end of the penalty, "
            f"{length(penalty.shortest_sleep_ns)} or more: the VMM is blocked there, and perhaps its "
            "devices, migration or monitor."
        ),
        facts=_facts(numbers),
        numbers=numbers,
        remedies=[
            remedies.align(guest=True),
            *remedies.no_penalty(trace, penalty),
            remedies.no_detection(),
        ],
        evidence=rows,
        evidence_kind="stall",
    )


# The waits during which no vCPU of the process was in a trap: of several vCPUs a probe sees one.
def _without_penalty(trace: Trace, rows: Rows) -> Rows:
    kept = np.ones(len(rows), bool)
    traps = trace.rows("trap")
    for tgid in rows["tgid"].unique().tolist():
        mine, theirs = (rows["tgid"] == tgid).to_numpy(), traps[traps["tgid"] == tgid]
        enters, exits = (np.sort(theirs[name].to_numpy()) for name in ("start_ns", "end_ns"))
        begun = np.searchsorted(enters, rows["end_ns"].to_numpy()[mine], "right")
        kept[mine] = begun == np.searchsorted(exits, rows["ns"].to_numpy()[mine], "left")
    return rows[kept]


def _facts(n: LockHoldNumbers) -> list[Fact]:
    waited = f"{plural(n.waits, 'time')}, {length(n.waited_ns)} in all, at most {length(n.longest_ns)}"
    callers = ", ".join(f"{each.function} ({each.waits:,})" for each in n.callers)
    found = [Fact("waited", waited), Fact("in", callers)]
    if n.usual_longest_ns is not None:
        usual = f"{plural(n.usual_waits, 'wait')} while no vCPU was penalized"
        found.append(Fact("otherwise", f"{usual}, at most {length(n.usual_longest_ns)}"))
    return found


# How much of each wait the thread spent in traps.
def _penalized_ns(rows: Rows, traps: Rows) -> npt.NDArray[np.int64]:
    begin, end = traps["start_ns"].to_numpy(), traps["end_ns"].to_numpy()
    if not len(begin):
        return np.zeros(len(rows), np.int64)
    lengths = np.concatenate([[0], np.cumsum(end - begin)])

    def until(ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        number = np.searchsorted(begin, ns, "right")
        over = np.maximum(end[np.maximum(number - 1, 0)] - ns, 0)
        spent: npt.NDArray[np.int64] = lengths[number] - np.where(number > 0, over, 0)
        return spent

    return until(rows["end_ns"].to_numpy()) - until(rows["ns"].to_numpy())


def _callers(trace: Trace, rows: Rows) -> tuple[Caller, ...]:
    counts = rows["caller"].value_counts(sort=True)
    names = [
        trace.text("kvm", "functions", str(each), otherwise=f"kvm+{address(each)}") for each in counts.index
    ]
    return tuple(Caller(escape(name, 64), int(count)) for name, count in zip(names, counts, strict=True))


ANALYZER = Analyzer(
    kind=KIND,
    title="threads that wait for a penalized vCPU",
    needs=Needs(("trap", "stall")),
    numbers=LockHoldNumbers,
    find=find,
)
