"""Wasted penalties: each threshold on both sides, the cores, and what moved the thread."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace.analyzers.finding import Confidence
from sldtrace.analyzers.findings import migration_defeat
from tests.analyzers.synthetic import MS, START_NS, TICK, VCPU, completed, facts, moved, trace

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
