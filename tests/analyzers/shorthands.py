"""Shorthands of the tests of early-return loops."""

from pathlib import Path
from typing import Any

from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.findings import early_return_loop, semaphore_early_return, user_space
from sldtrace.dataset.trace import Trace
from tests.analyzers.synthetic import Row, trace

OTHER_RIP = 0x9000


def loops_of(recorded: Trace) -> list[Finding]:
    """What the three analyzers of loops find in it, the longest first."""
    analyzers = (early_return_loop, semaphore_early_return, user_space)
    found = [finding for analyzer in analyzers for finding in analyzer.find(recorded)]
    return sorted(found, key=lambda finding: finding.numbers.longest_ns, reverse=True)


def find(folder: Path, rows: list[Row], **rest: Any) -> list[Finding]:
    """What the analyzers of loops find in a recording of these rows."""
    return loops_of(trace(folder, rows, **rest))


def one(folder: Path, rows: list[Row], **rest: Any) -> Finding:
    """The only finding in it."""
    (finding,) = find(folder, rows, **rest)
    return finding


def at(rows: list[Row], index: int, **fields: Any) -> list[Row]:
    """The same rows, some fields of one of them changed."""
    return [row | fields if number == index else row for number, row in enumerate(rows)]
