"""Shorthands of the tests of early-return loops."""

from pathlib import Path
from typing import Any

from sldtrace.analyzers.ending_signal import SignalNumbers
from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.findings import early_return_loops
from sldtrace.analyzers.loops import LoopNumbers
from sldtrace.dataset.subject import Subject
from sldtrace.dataset.trace import Trace
from tests.analyzers.synthetic import Row, trace

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
