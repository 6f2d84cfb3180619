"""Detection that stays off: the threshold on both sides, what ends a window, and the cause."""

from pathlib import Path

import pytest

from sldtrace.analyzers.findings import detection_left_off
from tests.analyzers.synthetic import MS, TICK, completed, early, facts, trace, window

LATE = 50 * TICK


@pytest.mark.parametrize(("length_ns", "found"), [(LATE, 0), (LATE + 1, 1)])
def test_detection_that_is_left_off(tmp_path: Path, length_ns: int, found: int) -> None:
    writes = window(MS, MS + length_ns)
    assert len(detection_left_off.find(trace(tmp_path, [completed(5_000 * MS)], detection=writes))) == found


def test_another_penalty_begins_the_window_anew(tmp_path: Path) -> None:
    writes = [*window(0), *window(40 * TICK), *window(80 * TICK, 110 * TICK)]
    assert detection_left_off.find(trace(tmp_path, detection=writes)) == []


def test_a_trap_shows_that_detection_is_on(tmp_path: Path) -> None:
    writes = window(0)
    assert len(detection_left_off.find(trace(tmp_path, detection=writes))) == 1
    assert detection_left_off.find(trace(tmp_path, [early(10 * TICK)], detection=writes)) == []
    assert (
        len(detection_left_off.find(trace(tmp_path, [early(10 * TICK, start_cpu=1)], detection=writes))) == 1
    )


@pytest.mark.parametrize(("begin_ns", "shared"), [(MS, True), (2 * TICK, True), (2 * TICK + 1, False)])
def test_a_trap_while_the_work_of_another_core_is_pending_gets_none(
    tmp_path: Path, begin_ns: int, shared: bool
) -> None:
    """With one work item for all CPUs; a window that began later has another cause."""
    writes = sorted([*window(0, 2 * TICK), *window(begin_ns, cpu=1)], key=lambda write: write["ns"])
    opening = facts(split_lock={"mitigate": 0})
    (finding,) = detection_left_off.find(trace(tmp_path, detection=writes, opening=opening))
    assert ("one work item" in finding.cause) == shared
    assert ("real-time" in finding.cause) == (not shared)
