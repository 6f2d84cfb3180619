"""Guests' own #AC: each threshold on both sides, and which exits have a trap."""

from pathlib import Path

import pytest

from sldtrace.analyzers.finding import Confidence
from sldtrace.analyzers.findings import guest_ac
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
