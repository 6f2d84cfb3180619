"""Wasted penalties: each threshold on both sides, the cores, and what moved the thread."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace.analyzers.finding import Confidence
from sldtrace.analyzers.findings import migration_defeat
from tests.analyzers.shorthands import said
from tests.analyzers.synthetic import MS, START_NS, TICK, VCPU, completed, facts, moved, task, trace

WINDOW = 2 * TICK


def defeated(gap_ns: int, count: int = 3, other_cpu: int = 1, **fields: Any) -> list[dict[str, Any]]:
    """Penalties completed on CPU 0 and 1 in turn, the next trap so long after each release."""
    rows, at = [], 0
    for index in range(count + 1):
        rows.append(completed(at, start_cpu=(0, other_cpu)[index % 2], **fields))
        at = rows[-1]["end_ns"] - START_NS + gap_ns
    return rows


@pytest.mark.parametrize(("gap_ns", "found"), [(WINDOW - 1, 1), (WINDOW, 0), (WINDOW + TICK, 0)])
def test_a_penalty_is_defeated_only_while_its_window_is_open(tmp_path: Path, gap_ns: int, found: int) -> None:
    assert len(migration_defeat.find(trace(tmp_path, defeated(gap_ns)))) == found


@pytest.mark.parametrize(("count", "found"), [(2, 0), (3, 1)])
def test_the_load_balancer_may_move_a_thread_twice(tmp_path: Path, count: int, found: int) -> None:
    assert len(migration_defeat.find(trace(tmp_path, defeated(MS, count)))) == found


@pytest.mark.parametrize(("at_home", "found"), [(3, 1), (4, 0)])
def test_half_of_the_penalties_must_be_defeated(tmp_path: Path, at_home: int, found: int) -> None:
    rows = defeated(MS, 3)
    last = rows[-1]["end_ns"] - START_NS
    rows += [completed(last + 100 * MS * (index + 1)) for index in range(at_home - 1)]
    assert len(migration_defeat.find(trace(tmp_path, rows))) == found


def test_siblings_share_the_register(tmp_path: Path) -> None:
    cores = facts(cpu={"cores": {"0": 0, "1": 0}})
    assert migration_defeat.find(trace(tmp_path, defeated(MS), opening=cores)) == []
    assert len(migration_defeat.find(trace(tmp_path, defeated(MS)))) == 1


def test_a_trap_elsewhere_in_the_guest_is_progress(tmp_path: Path) -> None:
    rows = [row | {"rip": index} for index, row in enumerate(defeated(MS, 5))]
    assert migration_defeat.find(trace(tmp_path, rows)) == []


def test_the_thread_that_moved_it(tmp_path: Path) -> None:
    rows = defeated(MS, 5)
    moves = [
        moved((row["end_ns"] - START_NS) + MS // 2, index % 2, 1 - index % 2)
        for index, row in enumerate(rows)
    ]
    (finding,) = migration_defeat.find(trace(tmp_path, rows, more={"migrate": moves[:-1]}))
    assert finding.numbers.migrations == 5
    assert (finding.numbers.moved_by_tid, finding.numbers.moved_by_count) == (300, 5)
    assert finding.confidence is Confidence.CERTAIN
    (finding,) = migration_defeat.find(trace(tmp_path, rows))
    assert finding.confidence is Confidence.LIKELY


def test_the_core_is_the_one_whose_register_was_written(tmp_path: Path) -> None:
    """The thread may be moved between the write and the return."""
    rows = [row | {"end_cpu": 1 - row["start_cpu"]} for row in defeated(MS, 5)]
    writes = [{"ns": row["end_ns"] - 2_000, "value": 0, "cpu": row["start_cpu"], "tid": VCPU} for row in rows]
    assert len(migration_defeat.find(trace(tmp_path, rows, detection=writes))) == 1
    assert migration_defeat.find(trace(tmp_path, rows, detection=[])) == []


def test_what_is_said_of_a_thread_and_of_what_moved_it(tmp_path: Path) -> None:
    """Moves of other threads and after the last penalty do not count; another thread loses less."""
    rows = defeated(MS, 5)
    moves = [
        moved(row["end_ns"] - START_NS + MS // 2, index % 2, 1 - index % 2, by_tid=301 if index == 2 else 300)
        for index, row in enumerate(rows)
    ]
    moves += [moved(5 * MS, 0, 1, tid=999), moved(5_000 * MS, 0, 1)]
    rows += [row | {"tid": 202, "vcpu": -1} for row in defeated(MS, 4)]
    rows.sort(key=lambda row: int(row["start_ns"]))
    moves.sort(key=lambda move: int(move["ns"]))
    one, other = migration_defeat.find(
        trace(tmp_path, rows, tasks=[task(300, b"iothread")], more={"migrate": moves})
    )
    assert said(one) == {
        "who": (200, 201, 0),
        "headline": "was moved to another core before it got past guest address 0x7c40",
        "facts": [
            "penalties: 6 completed, 5 of them (83.3 %) wasted",
            "slept: 65 ms in wasted penalties",
            "progress: 30 us in the guest after those, of 40 ms",
            "moved: 5 times, 4 of them while a process (PID 200, TID 300) was running",
        ],
        "time": (0, 70.1, False),
        "rip": 0x7C40,
        "sure": ("CERTAIN", "the moves were recorded, and each next trap came on another core"),
        "remedies": ["On the host", "On the host", "In the guest", "On the host"],
        "evidence": [0, 14.02, 28.04, 42.06, 56.08],
    }
    assert (one.numbers.migrations, one.numbers.moved_by_tgid, one.numbers.moved_by_tid) == (5, 200, 300)
    assert said(other)["who"] == (200, 202, None)
    assert said(other)["facts"][3] == "moved: 0 times"
    assert said(other)["sure"] == ("LIKELY", "each next trap came on another core, but no move was recorded")
    numbers = other.numbers
    assert (numbers.migrations, numbers.moved_by_tgid, numbers.moved_by_count) == (0, None, 0)
    # Another thread at the same times is no evidence.
    assert len(other.evidence) == 4


def test_moves_in_its_time_count_at_both_ends(tmp_path: Path) -> None:
    rows = defeated(MS, 3)
    first, last = (int(rows[at][name]) - START_NS for at, name in ((0, "start_ns"), (3, "start_ns")))
    moves = [moved(at, 0, 1) for at in (first, last)]
    (finding,) = migration_defeat.find(trace(tmp_path, rows, more={"migrate": moves}))
    begin, end = finding.start_ns - START_NS, finding.end_ns - START_NS
    for at, count in ((begin - 1, 0), (begin, 1), (end, 1), (end + 1, 0)):
        (found,) = migration_defeat.find(trace(tmp_path, rows, more={"migrate": [moved(at, 0, 1)]}))
        assert found.numbers.migrations == count


def test_of_two_that_moved_it_equally_often_the_smaller_number_is_named(tmp_path: Path) -> None:
    moves = [moved(at * MS, 0, 1, by_tid=tid) for at, tid in ((5, 302), (6, 301))]
    (finding,) = migration_defeat.find(trace(tmp_path, defeated(MS), more={"migrate": moves}))
    assert (finding.numbers.moved_by_tid, finding.numbers.moved_by_count) == (301, 1)
