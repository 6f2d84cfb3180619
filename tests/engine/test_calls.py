"""No Python for single records: a report calls as many functions for four times as many records."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset import trace as traces
from tests.analyzers.synthetic import MS, completed, exited, loop, moved, signalled, waited, write


def recording(path: Path, count: int) -> Path:
    """`count` records of each kind, of two threads: one loops, one completes its penalties."""
    moments = [each * MS for each in range(count)]
    traps = loop(count) + [completed(each, tid=4002, start_cpu=1, end_cpu=1) for each in moments]
    more = {
        "exit": [exited(each) for each in moments],
        "signal": [signalled(each) for each in moments],
        "migrate": [moved(each, 0, 1) for each in moments],
        "stall": [waited(each, 5 * MS) for each in moments],
    }
    return write(path, traps, more=more)


def calls(path: Path) -> int:
    """Calls of functions, in Python and in C, while all findings are looked for."""
    count = 0

    def counted(_: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    recorded = traces.load(path)
    sys.setprofile(counted)
    try:
        catalogue.run(recorded)
    finally:
        sys.setprofile(None)
    return count


def test_calls_do_not_grow_with_records(tmp_path: Path) -> None:
    calls(recording(tmp_path / "warm.sld", 100))  # what is imported and cached at the first time
    few, many = (calls(recording(tmp_path / f"{count}.sld", count)) for count in (1000, 4000))
    # For 18,000 records more: some chunks more are read, and bisection takes two steps more.
    assert many - few < 3000, (few, many)
