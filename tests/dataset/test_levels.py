"""How much was recorded when, and why it was less than asked for."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace.dataset import levels
from sldtrace.dataset.levels import Stretch
from sldtrace.dataset.trace import Trace
from tests.analyzers.synthetic import CLOSED_NS, FACTS, MS, SPAN_NS, START_NS, step, trace

START = step(0, "TRAPS", "TRAPS", "START")
TRAP = step(100 * MS, "EXITS", "TRAPS", "TRAP")


def made(folder: Path, *rows: dict[str, Any], exits: str = "recent") -> Trace:
    return trace(folder, opening=FACTS | {"exits": exits}, more={"detail": rows})


def at(ms: int) -> int:
    return START_NS + ms * MS


def test_armed_by_the_first_trap(tmp_path: Path) -> None:
    recorded = made(tmp_path, START, TRAP)
    assert levels.stretches(recorded) == [
        Stretch("traps", START_NS, at(100), "start", 0, 0),
        Stretch("exits", at(100), CLOSED_NS, "trap", 0, 0),
    ]
    assert levels.watched(recorded) == [(at(100), CLOSED_NS)]
    assert [one.level for one in levels.reduced(recorded)] == ["traps"]


def test_what_brought_it_down_holds_until_it_is_as_high_as_asked_for_again(tmp_path: Path) -> None:
    recorded = made(
        tmp_path,
        START,
        TRAP,
        step(200 * MS, "COUNTS", "EXITS", "CPU", 13_000, 10_000),
        step(300 * MS, "TRAPS", "COUNTS", "EVENTS", 50, 40),
        step(400 * MS, "COUNTS", "TRAPS", "RECOVERED", 1, 40),
        step(500 * MS, "EXITS", "COUNTS", "RECOVERED", 2, 40),
    )
    assert levels.stretches(recorded)[2:] == [
        Stretch("counts", at(200), at(300), "cpu", 13_000, 10_000),
        Stretch("traps", at(300), at(400), "events", 50, 40),
        Stretch("counts", at(400), at(500), "events", 50, 40),
        Stretch("exits", at(500), CLOSED_NS, "recovered", 2, 40),
    ]
    assert levels.watched(recorded) == [(at(100), at(300)), (at(400), CLOSED_NS)]


def test_a_trap_after_a_calm_does_not_lift_a_limit(tmp_path: Path) -> None:
    recorded = made(
        tmp_path,
        START,
        TRAP,
        step(200 * MS, "COUNTS", "EXITS", "CPU", 13_000, 10_000),
        step(300 * MS, "TRAPS", "COUNTS", "IDLE", 30, 20),
        step(400 * MS, "COUNTS", "TRAPS", "TRAP"),
        step(500 * MS, "EXITS", "COUNTS", "RECOVERED"),
        step(600 * MS, "TRAPS", "EXITS", "IDLE", 30, 20),
        step(700 * MS, "COUNTS", "TRAPS", "TRAP"),
    )
    assert [stretch.why for stretch in levels.stretches(recorded)[2:]] == [
        "cpu",
        "idle",
        "cpu",
        "recovered",
        "idle",
        "trap",
    ]


@pytest.mark.parametrize(
    ("exits", "level", "less"),
    [
        ("recent", "EXITS", 0),
        ("recent", "COUNTS", 1),
        ("all", "COUNTS", 1),
        ("counts", "COUNTS", 0),
        ("counts", "TRAPS", 1),
        ("none", "TRAPS", 0),
    ],
)
def test_less_than_asked_for_depends_on_what_was_asked_for(
    exits: str, level: str, less: int, tmp_path: Path
) -> None:
    recorded = made(tmp_path, step(0, level, level, "START"), exits=exits)
    assert len(levels.reduced(recorded)) == less
    assert levels.watched(recorded) == ([] if level == "TRAPS" else [(START_NS, CLOSED_NS)])


def test_a_record_from_before_the_beginning_says_what_held_then(tmp_path: Path) -> None:
    """With --keep and --rotate the last step is carried forward."""
    recorded = made(tmp_path, step(-500 * MS, "COUNTS", "EXITS", "CPU", 1, 2))
    assert levels.stretches(recorded) == [Stretch("counts", START_NS, START_NS + SPAN_NS, "cpu", 1, 2)]


def test_nothing_is_known_without_records(tmp_path: Path) -> None:
    recorded = made(tmp_path)
    assert not levels.stretches(recorded)
    assert not levels.watched(recorded)
    assert not levels.reduced(recorded)


def test_a_level_that_only_a_newer_version_knows_is_not_less(tmp_path: Path) -> None:
    recorded = made(tmp_path, START, step(100 * MS, "EXITS", "TRAPS", "TRAP") | {"level": 9})
    assert [one.start_ns for one in levels.reduced(recorded)] == [START_NS]
    assert levels.watched(recorded) == [(at(100), CLOSED_NS)]
