"""The benchmark of `sldtrace log` compares two ways that find the same lines."""

from pathlib import Path

import pytest

from benchmarks import log


@pytest.mark.parametrize("journal", [False, True])
def test_both_ways_find_the_same(tmp_path: Path, journal: bool) -> None:
    log.write(tmp_path / "log", 5_000_000, journal)
    best = log.fastest({"log": log.read, "grep": log.grep}, tmp_path / "log", rounds=1)
    assert log.grep(tmp_path / "log") >= 2
    assert best.keys() == {"log", "grep"}
