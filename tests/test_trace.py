"""A recording as the analyzers see it: merged facts, span, names, wall time; also where parts are lost."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace import trace as traces
from sldtrace.errors import SldtraceError
from tests.analyzers.synthetic import (
    CLOSED_NS,
    FACTS,
    MS,
    START_NS,
    VCPU,
    VMM,
    WALL_NS,
    early,
    facts,
    served,
    task,
    trace,
)


def test_updates_are_merged_into_the_groups_that_they_name(tmp_path: Path) -> None:
    updates = [
        {"processes": {"1": {"comm": "a"}}},
        {"processes": {"2": {"comm": "b"}}, "armed_ns": 7},
        {"processes": {"1": {"comm": "c"}}, "probes": []},
    ]
    found = trace(tmp_path, updates=updates).facts
    assert found["processes"] == {"1": {"comm": "c"}, "2": {"comm": "b"}}
    assert (found["armed_ns"], found["probes"]) == (7, [])
    assert found["kernel"] == FACTS["kernel"]


def test_an_update_of_another_type_replaces(tmp_path: Path) -> None:
    found = trace(tmp_path, opening={"a": {"x": 1}, "b": 5}, updates=[{"a": 5, "b": {"y": 2}}]).facts
    assert found == {"a": 5, "b": {"y": 2}}


def test_the_recording_itself_is_not_changed_by_merging(tmp_path: Path) -> None:
    recorded = trace(tmp_path, updates=[{"kernel": {"release": "other"}}])
    assert recorded.fact("kernel", "release") == "other"
    assert recorded.recording.facts["kernel"]["release"] == FACTS["kernel"]["release"]


def test_a_fact_that_is_missing(tmp_path: Path) -> None:
    recorded = trace(tmp_path, opening={"odd": 5, "kernel": {"release": None}})
    assert recorded.fact("none", "release", "x") == "x"
    assert recorded.fact("odd", "release", "x") == "x"
    assert recorded.fact("kernel", "tick_ns") is None
    assert recorded.fact("kernel", "release", "x") is None


@pytest.mark.parametrize(
    ("opening", "close", "span"),
    [
        (FACTS, True, (START_NS, CLOSED_NS)),
        (FACTS, False, (START_NS, START_NS + 500 * MS)),
        ({}, True, (START_NS + 100 * MS, CLOSED_NS)),
        ({}, False, (START_NS + 100 * MS, START_NS + 500 * MS)),
    ],
    ids=["whole", "no end", "no facts", "neither"],
)
def test_span(opening: dict[str, Any], close: bool, span: tuple[int, int], tmp_path: Path) -> None:
    rows = [early(100 * MS), early(500 * MS)]
    assert trace(tmp_path, rows, opening=opening, close=close).span_ns == span


def test_span_of_nothing(tmp_path: Path) -> None:
    assert trace(tmp_path, opening={}, ended={}).span_ns == (0, 0)
    assert trace(tmp_path, close=False).span_ns == (START_NS, START_NS)


def test_wall_time(tmp_path: Path) -> None:
    assert trace(tmp_path).wall_ns(START_NS + 5) == WALL_NS + 5
    slewed = {"clock": {"monotonic_ns": CLOSED_NS, "realtime_ns": WALL_NS + CLOSED_NS - START_NS + 2000}}
    assert trace(tmp_path, ended=slewed).wall_ns((START_NS + CLOSED_NS) // 2) == (
        WALL_NS + (CLOSED_NS - START_NS) // 2 + 1000
    )
    assert trace(tmp_path, opening=facts(clock=None), ended={}).wall_ns(5) is None


def test_names_of_process_and_thread(tmp_path: Path) -> None:
    tasks = [task(VMM, b"from task"), task(VCPU, b"CPU\x1b0")]
    recorded = trace(tmp_path, [early(0)], tasks=tasks)
    who = recorded.subject(VMM, VCPU, 3)
    assert (who.process, who.tgid, who.thread, who.tid, who.vcpu) == ("from task", VMM, r"CPU\x1b0", VCPU, 3)
    updates = [{"processes": {str(VMM): {"comm": "from\nproc"}}}]
    assert trace(tmp_path, tasks=tasks, updates=updates).subject(VMM, VCPU, None).process == r"from\nproc"
    nobody = recorded.subject(1, 2, None)
    assert (nobody.process, nobody.thread, nobody.vcpu) == ("", "", None)


def test_traps_are_in_order_of_their_beginning(tmp_path: Path) -> None:
    rows = [served(60 * MS), served(30 * MS), served(0)]
    assert trace(tmp_path, rows).traps["enter_ns"].is_monotonic_increasing


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SldtraceError, match="does not exist"):
        traces.load(tmp_path / "none")
