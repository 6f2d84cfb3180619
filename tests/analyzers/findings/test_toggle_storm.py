"""Detection that is back too soon: each threshold on both sides."""

from pathlib import Path

import pytest

from sldtrace.analyzers.findings import toggle_storm
from tests.analyzers.synthetic import MS, TICK, trace, window


@pytest.mark.parametrize(("off_ns", "found"), [(TICK - 1, 1), (TICK, 0), (2 * TICK, 0)])
def test_detection_that_is_back_too_soon(tmp_path: Path, off_ns: int, found: int) -> None:
    writes = [write for index in range(10) for write in window(index * 50 * MS, index * 50 * MS + off_ns)]
    assert len(toggle_storm.find(trace(tmp_path, detection=writes))) == found


@pytest.mark.parametrize(("short", "whole", "found"), [(2, 0, 0), (3, 0, 1), (3, 3, 1), (3, 4, 0)])
def test_a_storm_is_most_of_three_or_more(tmp_path: Path, short: int, whole: int, found: int) -> None:
    lengths = [MS] * short + [2 * TICK] * whole
    writes = [each for n, ns in enumerate(lengths) for each in window(n * 50 * MS, n * 50 * MS + ns)]
    assert len(toggle_storm.find(trace(tmp_path, detection=writes))) == found
