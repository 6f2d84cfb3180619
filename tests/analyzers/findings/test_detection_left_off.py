"""Detection that stays off: the threshold on both sides, what ends a window, and the cause."""

from pathlib import Path

import pytest

from sldtrace.analyzers.finding import Confidence
from sldtrace.analyzers.findings import detection_left_off
from tests.analyzers.synthetic import MS, START_NS, TICK, completed, early, facts, trace, window

LATE = 50 * TICK


@pytest.mark.parametrize(("length_ns", "found"), [(LATE, 0), (LATE + 1, 1)])
def test_detection_that_is_left_off(tmp_path: Path, length_ns: int, found: int) -> None:
    writes = window(MS, MS + length_ns)
    assert len(detection_left_off.find(trace(tmp_path, [completed(5_000 * MS)], detection=writes))) == found


def test_what_is_said_of_several_cores(tmp_path: Path) -> None:
    """One core is late twice, one to the end of the recording, one never."""
    writes = [
        *window(0, 100 * TICK),
        *window(200 * TICK, 260 * TICK),
        *window(300 * TICK, 302 * TICK),
        *window(50 * TICK, 52 * TICK, cpu=2),
        *window(400 * TICK, cpu=4),
    ]
    (finding,) = detection_left_off.find(
        trace(tmp_path, [early(450 * TICK, start_cpu=2)], detection=sorted(writes, key=lambda row: row["ns"]))
    )
    numbers = finding.numbers
    assert (numbers.cores, numbers.windows, numbers.long_windows) == ((0, 4), 5, 3)
    assert (numbers.not_seen_to_end, numbers.usual_ns) == (1, 2 * TICK)
    last = finding.end_ns - START_NS - 400 * TICK
    assert (numbers.longest_ns, numbers.total_ns) == (max(100 * TICK, last), 160 * TICK + last)
    assert finding.start_ns == START_NS
    assert finding.confidence is Confidence.CERTAIN
    assert finding.confidence_reason == "the writes of MSR_TEST_CTRL were recorded"
    assert [each.label for each in finding.facts] == ["off", "cores"]
    assert finding.facts[0].text.startswith("3 times of 5 (60 %) too long, at most ")
    assert finding.facts[1].text == "0, 4"
    assert "on 2 cores for" in finding.headline
    assert len(finding.evidence) == 7


def test_where_no_end_was_seen_it_is_likely(tmp_path: Path) -> None:
    (finding,) = detection_left_off.find(trace(tmp_path, [early(MS)], detection=window(2 * MS)))
    assert (finding.confidence, finding.ongoing) == (Confidence.LIKELY, True)
    assert "the recording ended before" in finding.confidence_reason


@pytest.mark.parametrize(("later_ms", "ongoing"), [(0, True), (500, False)])
def test_it_is_ongoing_only_where_it_lasts_to_the_end(tmp_path: Path, later_ms: int, ongoing: bool) -> None:
    """A trap on its core shows that detection is on again; another core was late before."""
    rows = [early(300 * MS, start_cpu=0)] if later_ms else []
    writes = [*window(0), *window(MS, 400 * MS, cpu=1)]
    (finding,) = detection_left_off.find(trace(tmp_path, rows, detection=writes))
    assert finding.ongoing is ongoing


def test_it_is_not_ongoing_where_all_ends_were_seen(tmp_path: Path) -> None:
    (finding,) = detection_left_off.find(trace(tmp_path, detection=window(0, 9_999 * MS)))
    assert not finding.ongoing


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
