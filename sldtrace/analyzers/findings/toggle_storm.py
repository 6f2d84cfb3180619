"""Finds cores whose split-lock detection is switched on again sooner than two jiffies after a penalty.

The delayed work of split_lock_warn comes after two jiffies, not earlier (schedule_delayed_work_on,
b041b525dab9; the timer wheel rounds up). Where detection is on sooner, something else switched it on: the
shared work item of 6.2 to 6.14 with kernel.split_lock_mitigate=0, for a sibling's trap, or software that
writes MSR_TEST_CTRL itself. The thread then traps again although its penalty is over.
"""

from dataclasses import dataclass

from sldtrace.analyzers import detection_writes, penalties, thresholds
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Remedy, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.analyzers.recovery import AT_ONCE, LOOK
from sldtrace.dataset import folding
from sldtrace.dataset.trace import Trace
from sldtrace.engine.tables import Array
from sldtrace.model.penalty import Penalty
from sldtrace.prediction import recorded_penalty
from sldtrace.text.phrases import length, percent, plural, rate

KIND = "toggle-storm"

_SHOWN = 5


@dataclass(frozen=True)
class Writer:
    """A thread that wrote MSR_TEST_CTRL."""

    tid: int
    writes: int


@dataclass(frozen=True)
class ToggleNumbers(Numbers):
    """How soon detection is on again on one core."""

    core: int  # by the number of its first CPU
    windows: int  # times that detection was off there
    short_windows: int  # of those, the ones that were too short
    median_ns: int  # of short_windows
    usual_ns: int  # two jiffies
    writes_per_s: float  # of MSR_TEST_CTRL
    writers: tuple[Writer, ...]  # the most writes first, at most five


def least_ns(penalty: Penalty) -> int:
    """The shortest time for which the kernel's own work leaves detection off."""
    return int(thresholds.TOGGLE_JIFFIES.value * penalty.tick_ns)


def find(trace: Trace) -> list[Finding[ToggleNumbers]]:
    """One finding for each core, the one with the most such windows first."""
    penalty = recorded_penalty.penalty(trace)
    cores = folding.fold(trace).windows.cores()
    found = [_finding(trace, penalty, core, sums) for core, sums in cores if _is_storm(sums)]
    return sorted(found, key=lambda finding: finding.numbers.short_windows, reverse=True)


def _is_storm(sums: Array) -> bool:
    enough = bool(sums["short"] >= thresholds.TOGGLE_WINDOWS.value)
    return enough and bool(sums["short"] >= thresholds.TOGGLE_SHARE.value * sums["windows"])


def _finding(trace: Trace, penalty: Penalty, core: int, sums: Array) -> Finding[ToggleNumbers]:
    start, end = int(sums["short_start_ns"]), int(sums["short_end_ns"])
    evidence = detection_writes.find(trace, [core], (start, end))
    writers = detection_writes.writers(trace, core, (start, end))
    numbers = ToggleNumbers(
        core=core,
        windows=int(sums["windows"]),
        short_windows=int(sums["short"]),
        median_ns=folding.fold(trace).windows.short_median_ns(core),
        usual_ns=penalty.window_ns,
        writes_per_s=round(len(evidence) * 1e9 / max(end - start, 1), 1),
        writers=tuple(Writer(*each) for each in writers.most_common(_SHOWN)),
    )
    ongoing = penalties.is_ongoing(trace, penalty, end)
    switched, can = ("is", "can") if ongoing else ("was", "could")
    return Finding(
        kind=KIND,
        severity=Severity.WARNING,
        verdict="toggle storm",
        subject=None,
        headline=f"on core {core} detection {switched} switched on again before the split lock {can} be "
        "executed",
        rip=None,
        start_ns=start,
        end_ns=end,
        ongoing=ongoing,
        confidence=Confidence.CERTAIN,
        confidence_reason="the writes of MSR_TEST_CTRL were recorded",
        cause=(
            "After a penalty detection is off for two jiffies, so that the split lock can be executed. Here "
            "it was switched on again sooner, by something else than the penalty's own work, and the thread "
            "traps again."
        ),
        facts=_facts(numbers),
        numbers=numbers,
        remedies=[
            Remedy(
                "Find what writes MSR 0x33 besides the kernel's own work (the TIDs are in the finding), and "
                "stop it.",
                "what that program wants of the MSR is not done",
                "perf trace -e msr:write_msr --filter 'msr==0x33'",
                undo="start it again",
                recovery=AT_ONCE,
                verify=LOOK,
            )
        ],
        evidence=evidence,
        evidence_kind="detection",
    )


def _facts(n: ToggleNumbers) -> list[Fact]:
    times = f"{plural(n.short_windows, 'time')} of {n.windows:,} ({percent(n.short_windows, n.windows)})"
    off = f"{times} too short, median {length(n.median_ns)}, where two jiffies are {length(n.usual_ns)}"
    writers = ", ".join(str(each.tid) for each in n.writers)
    return [Fact("off", off), Fact("writes", f"{rate(n.writes_per_s)} a second, by TID {writers}")]


ANALYZER = Analyzer(
    kind=KIND,
    title="cores whose detection is switched on too soon",
    needs=Needs(("detection",)),
    numbers=ToggleNumbers,
    find=find,
)
