"""Shorthands of the tests of early-return loops."""

from pathlib import Path
from typing import Any

from sldtrace.analyzers import early_return_loop
from sldtrace.analyzers.finding import Finding
from tests.analyzers.synthetic import Row, trace

OTHER_RIP = 0x9000


def find(folder: Path, rows: list[Row], **rest: Any) -> list[Finding]:
    """What the analyzer finds in a recording of these rows."""
    return early_return_loop.find(trace(folder, rows, **rest))


def one(folder: Path, rows: list[Row], **rest: Any) -> Finding:
    """The only finding in it."""
    (finding,) = find(folder, rows, **rest)
    return finding


def at(rows: list[Row], index: int, **fields: Any) -> list[Row]:
    """The same rows, some fields of one of them changed."""
    return [row | fields if number == index else row for number, row in enumerate(rows)]
