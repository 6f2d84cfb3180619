"""Finds VMMs that the kernel ended by SIGBUS because a guest of theirs took a split lock.

In the mode fatal handle_guest_split_lock returns false without a warning (arch/x86/kernel/cpu/bus_lock.c,
d7e94dbdac1a), and KVM leaves with SIGBUS on its way. The first split lock is enough: there is no threshold.
"""

from dataclasses import dataclass

from sldtrace.analyzers import remedies
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Remedy, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.text.phrases import address, plural

KIND = "fatal"
TITLE = "VMMs ended by SIGBUS"
NEEDS = Needs(("trap",))

_FATAL = "fatal"  # split_lock_detect=


@dataclass(frozen=True)
class FatalNumbers(Numbers):
    """The fatal traps of one process."""

    traps: int
    threads: int


def find(trace: Trace) -> list[Finding[FatalNumbers]]:
    """One finding for each process, in order of time."""
    traps = trace.rows("trap")
    return [_finding(trace, part) for _, part in traps[traps["fatal"]].split("tgid")]


def _finding(trace: Trace, rows: Rows) -> Finding[FatalNumbers]:
    tgid, tid, rip = (int(rows[name].iloc[0]) for name in ("tgid", "tid", "rip"))
    known = rows["vcpu"].dropna()
    mode = trace.text("split_lock", "mode")
    numbers = FatalNumbers(traps=len(rows), threads=int(rows["tid"].nunique()))
    sure = mode == _FATAL
    return Finding(
        kind=KIND,
        severity=Severity.CRITICAL,
        verdict="killed",
        subject=trace.subject(tgid, tid, int(known.iloc[0]) if len(known) else None),
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
            "The host was booted with split_lock_detect=fatal: the kernel does not punish a guest's "
            "split lock "
            "but refuses it. KVM_RUN cannot go on, and the VMM gets SIGBUS, which ends it unless it "
            "handles it."
        ),
        facts=[
            Fact("traps", f"{plural(numbers.traps, 'trap')} of {plural(numbers.threads, 'thread')}"),
        ],
        numbers=numbers,
        remedies=[
            Remedy(
                "On the host, at the next boot: warn and punish instead.",
                "a reboot; then such a guest is slowed, and can stand still if its VMM uses short timers",
                "split_lock_detect=warn on the kernel's command line",
            ),
            remedies.align(guest=True),
            remedies.no_detection(),
        ],
        evidence=rows,
    )
