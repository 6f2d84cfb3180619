"""Finds threads of a VMM that wait inside KVM for a vCPU that sleeps its penalty.

A vCPU is penalized inside KVM_RUN: it holds vcpu->mutex, and is a reader of kvm->srcu
(Documentation/virt/kvm/locking.rst). A thread that wants the one, or synchronizes the other (a change of
memory slots does), waits until the penalty is over. A penalty's sleep is whole jiffies, so a shorter wait has
another cause.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sldtrace.analyzers import remedies, thresholds
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset import folding, frames
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.engine import lock_waits
from sldtrace.model.early_returns import Bools
from sldtrace.model.penalty import Penalty
from sldtrace.prediction import recorded_penalty
from sldtrace.recording.layout import Records
from sldtrace.text.escape import escape
from sldtrace.text.phrases import address, length, percent, plural

KIND = "lock-hold"

_CALLERS = 16
_SRCU, _UNKNOWN = "kvm->srcu", "a mutex"
_VCPU, _VM, _SLOTS = "vcpu->mutex", "kvm->lock", "kvm->slots_lock"
_MUTEXES = {
    "kvm_vcpu_ioctl": (_VCPU,),
    "kvm_vm_ioctl_create_vcpu": (_VM,),
    "kvm_vm_ioctl_enable_cap": (_VM,),
    "kvm_arch_vm_ioctl": (_VM,),
    "kvm_set_memory_region": (_SLOTS,),
    "kvm_vm_ioctl_set_memory_region": (_SLOTS,),
    "kvm_vm_ioctl_get_dirty_log": (_SLOTS,),
    "kvm_vm_ioctl_clear_dirty_log": (_SLOTS,),
    "kvm_ioeventfd": (_SLOTS,),
    "kvm_vm_ioctl_register_coalesced_mmio": (_SLOTS,),
    "kvm_vm_ioctl_unregister_coalesced_mmio": (_SLOTS,),
    "kvm_set_irq_routing": ("kvm->irq_lock",),
    # The compiler inlines functions that create a vCPU and that change memory slots.
    "kvm_vm_ioctl": (_VM, _SLOTS),
}
"""The mutexes that each function takes itself (virt/kvm/kvm_main.c, arch/x86/kvm/x86.c; 6.1 to 7.2).

kvm->mmu_lock is a spinning lock: no thread sleeps its penalty with it held.
"""


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
    lock_name: str  # kvm->srcu, or the mutexes that the callers take: "a mutex" if that is not known
    callers: tuple[Caller, ...]  # the most waits first, at most 16
    usual_waits: int  # for this lock while no vCPU of the process was in a trap
    usual_longest_ns: int | None  # None: no such waits

    @property
    def lost_ns(self) -> int:
        """The time in waits."""
        return self.waited_ns


def find(trace: Trace) -> list[Finding[LockHoldNumbers]]:
    """One finding for each vCPU and lock, the longest wait in all first."""
    penalty = recorded_penalty.penalty(trace)
    groups = folding.fold(trace).locks.groups
    order = np.argsort(-groups["waited_ns"], kind="stable").tolist()
    return [_finding(trace, penalty, group, groups[group]) for group in order]


# group: of LockWaits.groups; row: this one.
def _evidence(trace: Trace, penalty: Penalty, group: int, row: np.void) -> Rows:
    least_ns = np.uint64(lock_waits.WAIT_JIFFIES * penalty.tick_ns)

    def chosen(stalls: Records) -> Bools:
        found: Bools = (stalls["tgid"] == row["tgid"]) & (stalls["penalized_tid"] == row["tid"])
        found &= (stalls["what"] == row["what"]) & (stalls["end_ns"] - stalls["ns"] >= least_ns)
        return found

    times = folding.fold(trace).locks.shown.times([group])
    return trace.evidence("stall", int(row["waits"]), times, chosen)


# row: of LockWaits.groups, with this number.
def _finding(trace: Trace, penalty: Penalty, group: int, row: np.void) -> Finding[LockHoldNumbers]:
    folded = folding.fold(trace)
    tgid, tid = int(row["tgid"]), int(row["tid"])
    what = frames.name_of(trace.recording, "stall_kind", int(row["what"]))
    waited, longest, penalized = (int(row[name]) for name in ("waited_ns", "longest_ns", "trapped_ns"))
    usual = folded.locks.usual(tgid, int(row["what"]))
    callers = _callers(trace, folded.locks.callers(group))
    lock = _lock(what, callers)
    numbers = LockHoldNumbers(
        waits=int(row["waits"]),
        threads=int(row["threads"]),
        waited_ns=waited,
        longest_ns=longest,
        penalized_ns=penalized,
        interrupted=int(row["interrupted"]),
        lock=what,
        lock_name=lock,
        callers=callers[:_CALLERS],
        usual_waits=usual.waits,
        usual_longest_ns=usual.longest_ns if usual.waits else None,
    )
    thread = folded.numbers.look_up(tgid, tid)
    vcpu = -1 if thread is None else int(folded.threads.sums["vcpu"][thread])
    severe = (
        longest >= thresholds.LOCK_WARNING_PENALTIES.value * penalty.shortest_sleep_ns
        and waited >= thresholds.LOCK_WARNING_TIME.value * penalty.shortest_sleep_ns
    )
    sure = penalized >= thresholds.LOCK_CERTAIN_SHARE.value * waited
    return Finding(
        kind=KIND,
        severity=Severity.WARNING if severe else Severity.NOTICE,
        verdict="lock held",
        subject=trace.subject(tgid, tid, vcpu if vcpu >= 0 else None),
        headline=f"{_held(lock)}: {_waited(numbers)}",
        rip=None,
        start_ns=int(row["start_ns"]),
        end_ns=int(row["end_ns"]),
        ongoing=False,
        confidence=Confidence.CERTAIN if sure else Confidence.POSSIBLE,
        confidence_reason=f"it was penalized for {percent(penalized, waited)} of the time of the waits",
        cause=(
            "A vCPU sleeps its penalty inside KVM_RUN, with vcpu->mutex held and as a reader of kvm->srcu. A "
            f"thread that needs {lock} waits for the end of the penalty, "
            f"{length(penalty.shortest_sleep_ns)} or more: the VMM is blocked there, and perhaps its "
            "devices, migration or monitor."
        ),
        facts=_facts(numbers, len(callers)),
        numbers=numbers,
        remedies=[
            *remedies.no_penalty(trace, penalty),
            remedies.align(guest=True),
            remedies.no_detection(),
        ],
        evidence=_evidence(trace, penalty, group, row),
        evidence_kind="stall",
    )


# By the functions that waited: which mutex it is, each of them where there are several.
def _lock(what: str, callers: Sequence[Caller]) -> str:
    if what == "srcu":
        return _SRCU
    known = [_MUTEXES.get(each.function) for each in callers]
    names = dict.fromkeys(name for each in known if each for name in each)
    return " or ".join(names) if names and None not in known else _UNKNOWN


# A vCPU in KVM_RUN holds no other mutex (Documentation/virt/kvm/locking.rst).
def _held(lock: str) -> str:
    if lock in (_SRCU, _VCPU, _UNKNOWN):
        return f"held {lock} while it was penalized"
    return f"was penalized while a thread that waited for it held {lock}"


def _waited(n: LockHoldNumbers) -> str:
    if n.waits == 1:
        return f"1 thread waited for it once, {length(n.longest_ns)}"
    threads, waits = plural(n.threads, "thread"), plural(n.waits, "time")
    return f"{threads} waited for it {waits}, {length(n.waited_ns)} in all"


def _facts(n: LockHoldNumbers, all_callers: int) -> list[Fact]:
    waited = f"{plural(n.waits, 'time')}, {length(n.waited_ns)} in all, at most {length(n.longest_ns)}"
    callers = ", ".join(f"{each.function} ({each.waits:,})" for each in n.callers)
    if all_callers > len(n.callers):
        callers += f", and {all_callers - len(n.callers):,} more"
    found = [Fact("waited", waited), Fact("in", callers)]
    if n.usual_longest_ns is not None:
        usual = f"{plural(n.usual_waits, 'wait')} while no vCPU was penalized"
        found.append(Fact("otherwise", f"{usual}, at most {length(n.usual_longest_ns)}"))
    return found


def _callers(trace: Trace, counts: Sequence[tuple[int, int]]) -> tuple[Caller, ...]:
    names = [
        trace.text("kvm", "functions", str(each), otherwise=f"kvm+{address(each)}") for each, _ in counts
    ]
    return tuple(Caller(escape(name, 64), count) for name, (_, count) in zip(names, counts, strict=True))


ANALYZER = Analyzer(
    kind=KIND,
    title="threads that wait for a penalized vCPU",
    needs=Needs(("trap", "stall")),
    numbers=LockHoldNumbers,
    find=find,
)
