"""Finds VMMs that the kernel sends SIGBUS because a guest of theirs takes a split lock.

In the mode fatal handle_guest_split_lock returns false without a warning (arch/x86/kernel/cpu/bus_lock.c,
d7e94dbdac1a), and KVM sends SIGBUS. One split lock is enough.
"""

from dataclasses import dataclass

from sldtrace.analyzers import remedies
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Remedy, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.text.phrases import address, plural

KIND = "fatal"

_FATAL = "fatal"  # split_lock_detect=


@dataclass(frozen=True)
class FatalNumbers(Numbers):
    """The fatal traps of one process."""

    traps: int
    threads: int


def find(trace: Trace) -> list[Finding[FatalNumbers]]:
    """One finding for each process, in order of time."""
    traps = trace.rows("trap")
    return [_finding(trace, part) for _, part in traps[traps["fatal"]].groupby("tgid")]


def _finding(trace: Trace, rows: Rows) -> Finding[FatalNumbers]:
    rip = int(rows["rip"].iloc[0])
    mode = trace.text("split_lock", "mode")
    numbers = FatalNumbers(traps=len(rows), threads=int(rows["tid"].nunique()))
    sure = mode == _FATAL
    return Finding(
        kind=KIND,
        severity=Severity.CRITICAL,
        verdict="killed",
        subject=trace.subject_of(rows),
        headline=f"was sent SIGBUS for the split lock at guest address {address(rip)}",
        rip=rip,
        start_ns=int(rows["start_ns"].min()),
        end_ns=int(rows["end_ns"].max()),
        ongoing=False,
        confidence=Confidence.CERTAIN if sure else Confidence.LIKELY,
        confidence_reason="the handler returned false, and the mode is fatal"
        if sure
        else f"the handler returned false, but the mode is {mode or 'not known'}",
        cause=(
            "The host was booted with split_lock_detect=fatal: the kernel has no penalty for a guest's split "
            "lock but refuses it. KVM_RUN cannot continue, and the VMM gets SIGBUS, which ends it unless it "
            "handles the signal."
        ),
        facts=[
            Fact("traps", f"{plural(numbers.traps, 'trap')} of {plural(numbers.threads, 'thread')}"),
        ],
        numbers=numbers,
        remedies=[
            Remedy(
                "On the host, at the next boot: a warning and a penalty instead.",
                "a reboot; then such a guest is slow, and makes no progress if its VMM uses short timers",
                "split_lock_detect=warn on the kernel's command line",
            ),
            remedies.align(guest=True),
            remedies.no_detection(),
        ],
        evidence=rows,
    )


ANALYZER = Analyzer(
    kind=KIND,
    title="VMMs ended by SIGBUS",
    needs=Needs(("trap",)),
    numbers=FatalNumbers,
    find=find,
)
