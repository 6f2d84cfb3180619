"""Exits by #AC that no trap belongs to, however the records are cut: a later trap decides."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine import ac_exits
from sldtrace.engine.ac_exits import AcExits, AcExitSummary
from sldtrace.engine.columns import Columns
from sldtrace.engine.first_last import FIRST, LAST
from tests.analyzers.synthetic import FLAGS, GUEST, MS, START_NS, Row, array, completed, counted, exited
from tests.engine.histories import SPAN_MS, cuts, histories
from tests.engine.sliced import fold

# After each trap: exits of its own, their addresses, and whether the trap itself has a record of its exit.
around = st.lists(
    st.tuples(st.lists(st.integers(1, 2), max_size=3), st.booleans(), st.sampled_from([0, 5_000])),
    min_size=32,
    max_size=32,
)
counters = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, SPAN_MS), st.integers(1, 100), st.sampled_from([0, 12])),
    max_size=8,
)


def exits_of(rows: list[Row], around: list[tuple[list[int], bool, int]]) -> list[Row]:
    found = []
    for row, (addresses, has_exit, host_ns) in zip(rows, around, strict=False):
        who = {"tgid": row["tgid"], "tid": row["tid"]}
        start, end = row["start_ns"] - START_NS, row["end_ns"] - START_NS
        if has_exit:
            found.append(exited(start - 2_000, vector=17, host_ns=end - start + 4_000, rip=7, **who))
        for number, rip in enumerate(addresses):
            at = end + 10_000 * (number + 1)
            found.append(exited(at, vector=17, host_ns=host_ns, rip=rip, **who))
            found.append(exited(at + 6_000, vector=14, host_ns=1_000, rip=rip, **who))
    return found


def address(rows: list[Row]) -> int | None:
    found = {row["rip"] for row in rows}
    return found.pop() if len(found) == 1 else None


def expected(tid: int, rows: list[Row], exits: list[Row], counts: list[Row]) -> AcExits:
    starts = np.array([row["start_ns"] for row in rows if row["tid"] == tid and row["flags"] & GUEST])
    mine = [row for row in exits if row["tid"] == tid and row["intr_info"] & 0xFF == 17]
    mine.sort(key=lambda row: int(row["ns"]))
    counted_ = [row for row in counts if row["tid"] == tid and row["reason"] == 0]
    inside, own = [], []
    if len(starts):
        inside = [row for row in mine if starts[0] <= row["ns"] <= starts[-1] and row["host_ns"]]
        for row in inside:
            end = row["ns"] + row["host_ns"]
            if not ((starts >= row["ns"]) & (starts <= end)).any():
                own.append(row)
    during = 0
    if counted_:
        since, until = counted_[0]["since_ns"], counted_[-1]["ns"]
        during = int(((starts >= since) & (starts <= until)).sum())
    sums = len(starts), during, len(mine), address(mine), len(inside), len(own), address(own)
    return AcExits(*sums, shown(mine), shown(own))


def shown(rows: list[Row]) -> tuple[int, ...]:
    times = [int(row["ns"]) for row in rows]
    return tuple(sorted({*times[:FIRST], *times[-LAST:]}))


@settings(deadline=None, max_examples=150)
@given(histories, around, counters, cuts, st.booleans())
def test_however_the_records_are_cut(
    rows: list[Row], around: list[Any], counters: list[Any], cuts: list[int], program: bool
) -> None:
    if program:
        rows = [row | {"flags": row["flags"] & ~FLAGS["GUEST"]} if row["tid"] == 201 else row for row in rows]
    exits = exits_of(rows, around)
    counts, since = [], dict[int, int]()
    for number, at, length, reason in sorted(counters, key=lambda each: each[1]):
        begin, end = since.get(number, at * MS), (at + length) * MS
        if end <= begin:
            continue
        times = {"since_ns": START_NS + begin, "ns": START_NS + end}
        vector = 17 if reason == 0 else -1
        counts.append(
            counted(reason, 5, {}, vector=vector, tgid=200 + number // 2, tid=201 + number, **times)
        )
        since[number] = end
    counts.sort(key=lambda row: int(row["ns"]))
    summary = AcExitSummary()
    fold(summary, {"trap": rows, "exit": exits, "counts": counts}, cuts)
    for number in range(5):
        found = summary.of(200 + number // 2, 201 + number)
        assert found == expected(201 + number, rows, exits, counts)


def test_exits_after_the_last_trap_are_pending() -> None:
    summary = AcExitSummary()
    own = [exited(20 * MS + n * 1000, vector=17, host_ns=10, rip=1) for n in range(3)]
    last = exited(30 * MS, vector=17, host_ns=MS, rip=2)
    going = fold(summary, {"trap": [completed(0)], "exit": [*own, last]}, [20 * MS, 21 * MS])
    times = tuple(row["ns"] for row in (*own, last))
    assert summary.of(200, 201) == AcExits(traps=1, exits=4, times=times)
    going.update({"trap": Columns(array("trap", [completed(30 * MS + 500_000)]))})
    assert summary.of(200, 201) == AcExits(2, 0, 4, None, 4, 3, 1, times, times[:3])


def test_traps_that_are_remembered_one_by_one_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ac_exits, "MOST_RECENT", 5)
    summary = AcExitSummary()
    rows = [completed(n * 20 * MS) for n in range(20)]
    count = counted(0, 5, {}, vector=17, since_ns=START_NS + 330 * MS, ns=START_NS + 390 * MS)
    fold(summary, {"trap": rows, "counts": [count]}, [n * 20 * MS for n in range(20)])
    assert summary._recent_size <= 6
    assert summary.of(200, 201).counted_traps == 3


def test_threads_above_the_limit_are_left_out() -> None:
    summary = AcExitSummary(most=2)
    rows = [completed(n, tid=n) for n in range(4)]
    fold(summary, {"trap": rows, "exit": [exited(n, vector=17, tid=n) for n in range(4)]})
    assert [summary.of(200, n).traps for n in range(4)] == [1, 1, 0, 0]
