"""Shorthands of the tests of findings."""

from pathlib import Path
from typing import Any

from sldtrace.analyzers.ending_signal import SignalNumbers
from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.findings import early_return_loops
from sldtrace.analyzers.loops import LoopNumbers
from sldtrace.dataset.subject import Subject
from sldtrace.dataset.trace import Trace
from tests.analyzers.synthetic import MS, START_NS, Row, trace

OTHER_RIP = 0x9000


def loops_of(recorded: Trace) -> list[Finding[LoopNumbers]]:
    """The loops of all three kinds in it, the longest first."""
    kinds = early_return_loops.KINDS
    found = [finding for kind in kinds for finding in early_return_loops.find(kind, recorded)]
    return sorted(found, key=lambda finding: finding.numbers.longest_ns, reverse=True)


def find(folder: Path, rows: list[Row], **rest: Any) -> list[Finding[LoopNumbers]]:
    """What the analyzers of loops find in a recording of these rows."""
    return loops_of(trace(folder, rows, **rest))


def one(folder: Path, rows: list[Row], **rest: Any) -> Finding[LoopNumbers]:
    """The only finding in it."""
    (finding,) = find(folder, rows, **rest)
    return finding


def at(rows: list[Row], index: int, **fields: Any) -> list[Row]:
    """The same rows, some fields of one of them changed."""
    return [row | fields if number == index else row for number, row in enumerate(rows)]


def subject_of(finding: Finding[Any]) -> Subject:
    """The thread of a finding that has one."""
    assert finding.subject
    return finding.subject


def signal_of(numbers: LoopNumbers) -> SignalNumbers:
    """The signal of a loop that is known to have one."""
    assert numbers.signal
    return numbers.signal


def said(finding: Finding[Any]) -> dict[str, Any]:
    """What a finding says besides its numbers; times in ms since the recording began."""
    who = finding.subject
    first = ("start_ns" if "start_ns" in finding.evidence.columns else "ns") if len(finding.evidence) else ""
    return {
        "who": who and (who.tgid, who.tid, who.vcpu),
        "headline": finding.headline,
        "facts": [f"{fact.label}: {fact.text}" for fact in finding.facts],
        "time": ((finding.start_ns - START_NS) / MS, (finding.end_ns - START_NS) / MS, finding.ongoing),
        "rip": finding.rip,
        "sure": (finding.confidence.name, finding.confidence_reason),
        "remedies": [remedy.what.split(":")[0].split(",")[0] for remedy in finding.remedies],
        "evidence": [(ns - START_NS) / MS for ns in finding.evidence[first].tolist()] if first else [],
    }
