"""Detection that is back too soon: each threshold on both sides."""

from pathlib import Path

import pytest

from sldtrace.analyzers.findings import toggle_storm
from tests.analyzers.shorthands import said
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


def test_what_is_said_of_a_storm(tmp_path: Path) -> None:
    """On core 2; core 0 has windows of the usual length."""
    writes = [
        write for at in range(4) for write in window(at * 100 * MS, at * 100 * MS + (at + 1) * MS // 2, cpu=2)
    ]
    writes += [write for at in range(4) for write in window(at * 100 * MS, at * 100 * MS + 2 * TICK)]
    writes.sort(key=lambda write: int(write["ns"]))
    (finding,) = toggle_storm.find(trace(tmp_path, detection=writes))
    found = said(finding)
    assert found == {
        "who": None,
        "headline": "on core 2 detection was switched on again before the split lock could be executed",
        "facts": [
            "off: 4 times of 4 (100 %) too short, median 1.25 ms, where two jiffies are 8 ms",
            "writes: 26.5 a second, by TID 0, 999",
        ],
        "time": (0, 302, False),
        "rip": None,
        "sure": ("CERTAIN", "the writes of MSR_TEST_CTRL were recorded"),
        "remedies": found["remedies"],
        "evidence": [0, 0.5, 100, 101, 200, 201.5, 300, 302],
    }
    assert [(each.tid, each.writes) for each in finding.numbers.writers] == [(0, 4), (999, 4)]
