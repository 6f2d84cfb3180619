"""Finds cores on which split-lock detection stayed off much longer than the two jiffies of a penalty.

Delayed work of split_lock_warn switches it on again after two jiffies (b041b525dab9). From 6.2 to 6.14,
with kernel.split_lock_mitigate=0, all CPUs share one work item: of CPUs that trap at the same time only one
gets detection back (fixed in 6.15 by c929d08df8be, 0e1ff67d164b).
"""

from dataclasses import dataclass

import numpy as np

from sldtrace.analyzers import detection_writes
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Remedy, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.analyzers.recovery import AT_ONCE, LOOK
from sldtrace.dataset import folding
from sldtrace.dataset.trace import Trace
from sldtrace.engine.tables import Array
from sldtrace.model.penalty import Penalty
from sldtrace.prediction import recorded_penalty
from sldtrace.text.phrases import length, percent, plural

KIND = "detection-left-off"

_SHARED = (
    "On this kernel (6.2 to 6.14, kernel.split_lock_mitigate=0) all CPUs share one work item: when several "
    "trap at the same time, only one gets detection back. The numbers of traps in this recording are too "
    "low, and uneven between CPUs."
)
_STUCK = (
    "Here that did not happen, or late: the worker could not run (a real-time task, which a vCPU may be; a "
    "stalled workqueue), the CPU went offline, or other software wrote the MSR."
)


@dataclass(frozen=True)
class DetectionOffNumbers(Numbers):
    """How long detection stayed off on some cores, after the last penalty there."""

    cores: tuple[int, ...]  # each by the number of its first CPU
    windows: int  # times that detection was off, on all cores
    long_windows: int  # of those, the ones that lasted too long
    not_seen_to_end: int  # of long_windows
    longest_ns: int
    total_ns: int
    usual_ns: int  # two jiffies


def find(trace: Trace) -> list[Finding[DetectionOffNumbers]]:
    """One finding for the host, or none."""
    penalty = recorded_penalty.penalty(trace)
    if not penalty.traps:
        return []
    cores = folding.fold(trace).windows.cores()
    return [_finding(trace, penalty, cores)] if any(sums["long"] for _, sums in cores) else []


def _finding(trace: Trace, penalty: Penalty, every: list[tuple[int, Array]]) -> Finding[DetectionOffNumbers]:
    long = np.array([sums for _, sums in every if sums["long"]])
    cores = [core for core, sums in every if sums["long"]]
    numbers = DetectionOffNumbers(
        cores=tuple(cores),
        windows=sum(int(sums["windows"]) for _, sums in every),
        long_windows=int(long["long"].sum()),
        not_seen_to_end=int(long["long_open"].sum()),
        longest_ns=int(long["longest_ns"].max()),
        total_ns=int(long["long_ns"].sum()),
        usual_ns=penalty.window_ns,
    )
    # Did a window begin while the work of another core's was pending, so that it got none?
    shared = penalty.shared_reenable and penalty.mitigate == 0 and bool(long["refused"].any())
    no_end_seen = numbers.not_seen_to_end == numbers.long_windows
    return Finding(
        kind=KIND,
        severity=Severity.NOTICE,
        verdict="detection left off",
        subject=None,
        headline=f"split locks were not detected on {plural(len(cores), 'core')} for "
        f"{length(numbers.total_ns)}",
        rip=None,
        start_ns=int(long["long_start_ns"].min()),
        end_ns=int(long["long_end_ns"].max()),
        ongoing=numbers.not_seen_to_end > 0 and bool(long["open_end_ns"].max() >= trace.span_ns[1]),
        confidence=Confidence.LIKELY if no_end_seen else Confidence.CERTAIN,
        confidence_reason="the recording ended before it was seen to be switched on again"
        if no_end_seen
        else "the writes of MSR_TEST_CTRL were recorded",
        cause=(
            "The kernel switches detection off on a core so that a split lock can be executed, and delayed "
            f"work switches it on again after two jiffies. {_SHARED if shared else _STUCK}"
        ),
        facts=_facts(numbers),
        numbers=numbers,
        remedies=[
            Remedy(
                "Use Linux 6.15 or newer, in which each CPU has a work item of its own.",
                "a reboot",
                undo="boot the kernel of before",
                recovery="after the boot: all VMs of the host stop for it",
                verify=LOOK,
            ),
            Remedy("Until then, do not rely on numbers of traps.", "none"),
        ]
        if shared
        else [
            Remedy(
                "Look for real-time tasks on these cores, and leave time for the kernel's workers there.",
                "the real-time tasks may be late",
                "ps -eLo cls,rtprio,psr,pid,tid,comm",
                undo="give the tasks the priority and the CPUs of before",
                persist="what starts the tasks: priorities and CPUs of a thread end with it",
                recovery=AT_ONCE,
                verify=LOOK,
            ),
            Remedy("Look for stalled workqueues in the kernel's log (workqueue or soft lockup).", "none"),
        ],
        evidence=detection_writes.find(trace, cores),
        evidence_kind="detection",
    )


def _facts(n: DetectionOffNumbers) -> list[Fact]:
    text = (
        f"{plural(n.long_windows, 'time')} of {n.windows:,} ({percent(n.long_windows, n.windows)}) too long, "
        f"at most {length(n.longest_ns)}, where two jiffies are {length(n.usual_ns)}"
    )
    return [Fact("off", text), Fact("cores", ", ".join(map(str, n.cores)))]


ANALYZER = Analyzer(
    kind=KIND,
    title="cores whose detection stayed off",
    needs=Needs(("detection",)),
    numbers=DetectionOffNumbers,
    find=find,
)
