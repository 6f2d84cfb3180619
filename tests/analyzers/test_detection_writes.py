"""Writes of MSR_TEST_CTRL as evidence: of which cores and times, and by whom."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace.analyzers import detection_writes
from sldtrace.dataset.trace import Trace
from tests.analyzers.synthetic import START_NS, trace

DETECT = 1 << 29


def written(folder: Path, count: int = 20) -> Trace:
    """One write each 100 ns, by turns on two cores, by three threads."""
    writes = [
        {"ns": START_NS + at * 100, "value": DETECT, "cpu": at % 2, "tid": 900 + at % 3}
        for at in range(count)
    ]
    return trace(folder, detection=writes)


def times(found: Any) -> list[int]:
    return [(ns - START_NS) // 100 for ns in found["ns"].tolist()]


def test_the_writes_of_some_cores(tmp_path: Path) -> None:
    made = written(tmp_path)
    assert times(detection_writes.find(made, [0])) == list(range(0, 20, 2))
    assert times(detection_writes.find(made, [0, 1])) == list(range(20))
    assert len(detection_writes.find(made, [])) == 0


def test_both_ends_of_the_time_are_included(tmp_path: Path) -> None:
    made = written(tmp_path)
    span = START_NS + 400, START_NS + 800
    assert times(detection_writes.find(made, [0], span)) == [4, 6, 8]
    assert detection_writes.writers(made, 0, span) == {900: 1, 901: 1, 902: 1}
    assert list(detection_writes.writers(made, 1, (START_NS, START_NS + 1_100))) == [900, 901, 902]
    assert detection_writes.writers(made, 1, (START_NS, START_NS + 1_100)) == {900: 2, 901: 2, 902: 2}


def test_the_first_and_the_last_ones_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = written(tmp_path)
    given: list[Any] = []
    monkeypatch.setattr(Trace, "evidence", lambda self, *all_of_it: given.append(all_of_it))
    monkeypatch.setattr(detection_writes, "BATCH", 7)
    detection_writes.find(made, [0])
    kind, count, shown, _ = given[0]
    assert (kind, count) == ("detection", 10)
    assert [(ns - START_NS) // 100 for ns in shown] == [0, 2, 4, 6, 12, 14, 16, 18]
    detection_writes.find(made, [1], (START_NS, START_NS + 500))
    assert [(ns - START_NS) // 100 for ns in given[1][2]] == [1, 3, 5]
