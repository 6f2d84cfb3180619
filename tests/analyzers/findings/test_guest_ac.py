"""Guests' own #AC: each threshold on both sides, and which exits have a trap."""

from pathlib import Path

import pytest

from sldtrace.analyzers.finding import Confidence
from sldtrace.analyzers.findings import guest_ac
from tests.analyzers.shorthands import said
from tests.analyzers.synthetic import MS, START_NS, completed, counted, exited, loop, trace


@pytest.mark.parametrize(("exits", "found"), [(12, 0), (13, 1)])
def test_exits_by_ac_that_no_trap_belongs_to(tmp_path: Path, exits: int, found: int) -> None:
    counts = [counted(0, exits, {12: exits}, vector=17)]
    findings = guest_ac.find(trace(tmp_path, loop(10), more={"counts": counts}))
    assert [finding.numbers.own for finding in findings] == [3] * found


@pytest.mark.parametrize(("exits", "found"), [(109, 0), (110, 1)])
def test_counters_alone_must_differ_by_a_tenth(tmp_path: Path, exits: int, found: int) -> None:
    counts = [counted(0, exits, {12: exits}, vector=17)]
    assert len(guest_ac.find(trace(tmp_path, loop(100), more={"counts": counts}))) == found


def test_records_that_a_trap_followed_are_no_evidence(tmp_path: Path) -> None:
    traps = [*loop(10, 100_000), completed(100 * MS)]
    singles = [exited(index * MS + 90_000, vector=17, host_ns=950_000) for index in range(10)]
    singles += [exited(20 * MS + index * MS, vector=17, host_ns=5_000) for index in range(5)]
    more = {"counts": [counted(0, 15, {12: 15}, vector=17)], "exit": singles}
    (finding,) = guest_ac.find(trace(tmp_path, traps, more=more))
    assert finding.evidence["ns"].tolist() == [each["ns"] for each in singles[10:]]
    # An exit after the last trap may have one that was not recorded any more.
    late = [row | {"ns": row["ns"] + 200 * MS} for row in singles[10:]]
    assert guest_ac.find(trace(tmp_path, traps, more=more | {"exit": singles[:10] + late})) == []
    assert finding.confidence is Confidence.CERTAIN


def test_lost_traps_leave_it_open(tmp_path: Path) -> None:
    more = {"counts": [counted(0, 15, {12: 15}, vector=17)]}
    lost = [{"ns": START_NS, "cpu": 0, "kind": 1, "cause": 1, "count": 9}]
    assert guest_ac.find(trace(tmp_path, loop(3), more=more, lost=lost)) == []
    assert len(guest_ac.find(trace(tmp_path, loop(3), more=more))) == 1


def test_what_is_said_of_threads_without_traps(tmp_path: Path) -> None:
    counts = [
        counted(0, count, {12: count}, vector=17, tid=tid) for tid, count in ((201, 40), (202, 90), (203, 2))
    ]
    exits = [exited(at * MS, vector=17, tid=202) for at in range(3)]
    exits += [exited(3 * MS, 1, tid=202), exited(4 * MS, vector=17, tid=202, tgid=900)]
    most, other = guest_ac.find(trace(tmp_path, more={"counts": counts, "exit": exits}))
    assert said(most) == {
        "who": (200, 202, 0),
        "headline": "left the guest 90 times by #AC without a split lock",
        "facts": ["exits: 90 of 90 by #AC, 90 a second"],
        "time": (0, 1_000, False),
        "rip": 0x7C40,
        "sure": ("CERTAIN", "single exits were recorded, and no trap followed them"),
        "remedies": ["Nothing is to be changed on the host. In the guest"],
        "evidence": [0, 1, 2],
    }
    assert said(other) | {"headline": "", "facts": [], "remedies": []} == {
        "who": (200, 201, 0),
        "headline": "",
        "facts": [],
        "time": (0, 1_000, False),
        "rip": None,
        "sure": ("LIKELY", "more exits by #AC were counted than traps"),
        "remedies": [],
        "evidence": [],
    }
    assert (other.numbers.own, other.numbers.exits, other.numbers.matched_records) == (40, 40, 0)
