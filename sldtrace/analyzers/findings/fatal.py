"""Finds VMMs that the kernel sends SIGBUS because a guest of theirs takes a split lock.

In the mode fatal handle_guest_split_lock returns false without a warning (arch/x86/kernel/cpu/bus_lock.c,
d7e94dbdac1a), and KVM sends SIGBUS. One split lock is enough.
"""

from dataclasses import dataclass

import numpy as np

from sldtrace.analyzers import addresses, remedies
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Remedy, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset import folding
from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.engine.tables import Array
from sldtrace.engine.threads import Threads
from sldtrace.recording import schema
from sldtrace.text.phrases import plural

KIND = "fatal"

_FATAL = "fatal"  # split_lock_detect=


@dataclass(frozen=True)
class FatalNumbers(Numbers):
    """The fatal traps of one process."""

    traps: int
    threads: int


def find(trace: Trace) -> list[Finding[FatalNumbers]]:
    """One finding for each process, in order of time."""
    folded = folding.fold(trace)
    threads = folded.fatal.threads
    who = np.flatnonzero(threads["traps"])
    who = who[np.argsort(threads["start_ns"][who], kind="stable")]
    _, first, process = np.unique(folded.numbers.tgid[who], return_index=True, return_inverse=True)
    order = np.argsort(process, kind="stable")
    parts = np.split(who[order], np.flatnonzero(np.diff(process[order])) + 1) if len(who) else []
    return [_finding(trace, folded.numbers, threads, parts[each]) for each in np.argsort(first)]


@per_trace
def _fatal_traps(trace: Trace) -> dict[int, Rows]:
    """Those of each process, by TGID; the file is read once for all of them."""
    handled = np.uint32(schema.current().enums["trap_flags"].values["HANDLED"])
    traps = trace.select("trap", lambda records: records["flags"] & handled == 0)
    return {key[0]: rows for key, rows in traps.groupby("tgid")}


# who: the numbers of the threads of one process with fatal traps, by the time of their first ones.
def _finding(trace: Trace, numbered: Threads, threads: Array, who: Array) -> Finding[FatalNumbers]:
    rows = threads[who]
    tgid, tid = int(numbered.tgid[who[0]]), int(numbered.tid[who[0]])
    vcpu = int(rows["vcpu"][np.argmax(rows["vcpu_ns"])])
    rip = int(rows["rip"][0])
    mode = trace.text("split_lock", "mode")
    numbers = FatalNumbers(traps=int(rows["traps"].sum()), threads=len(who))
    sure = mode == _FATAL
    return Finding(
        kind=KIND,
        severity=Severity.CRITICAL,
        verdict="killed",
        subject=trace.subject(tgid, tid, vcpu if vcpu >= 0 else None),
        headline=f"was sent SIGBUS for the split lock at {addresses.named(trace, rip, guest=True)}",
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
                undo="split_lock_detect=fatal on the kernel's command line, and another boot",
                recovery="after the boot: a VMM that was killed has to be started again",
                verify=("sldtrace check",),
            ),
            remedies.align(guest=True),
            remedies.no_detection(),
        ],
        evidence=_fatal_traps(trace)[tgid],
    )


ANALYZER = Analyzer(
    kind=KIND,
    title="VMMs ended by SIGBUS",
    needs=Needs(("trap",)),
    numbers=FatalNumbers,
    find=find,
)
