"""Waits for penalized vCPUs, however the records are cut: traps may start until the end of a wait."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine import lock_waits
from sldtrace.engine.columns import Columns
from sldtrace.engine.lock_waits import LockWaits
from tests.analyzers.synthetic import MS, TICK, Row, array, completed, waited
from tests.engine.histories import SPAN_MS, cuts, histories
from tests.engine.sliced import fold

stalls = st.lists(
    st.builds(
        lambda at, length, vcpu, tid, caller, what, result: waited(
            at * MS // 2,
            length * MS,
            what,
            tgid=200 + vcpu % 4 // 2,
            penalized_tid=201 + vcpu if vcpu < 4 else 0,
            tid=tid,
            caller=caller,
            result=result,
        ),
        st.integers(0, 2 * SPAN_MS),
        st.sampled_from([1, 3, 4, 20, 200]),
        st.integers(0, 7),
        st.integers(300, 302),
        st.integers(1, 3),
        st.sampled_from(["SRCU", "MUTEX"]),
        st.sampled_from([0, -4]),
    ),
    max_size=12,
).map(lambda rows: sorted(rows, key=lambda row: row["ns"]))


def length(row: Row) -> int:
    return int(row["end_ns"] - row["ns"])


def shared(wait: Row, trap: Row) -> int:
    """How long both lasted at the same time; negative: neither touches the other."""
    return int(min(wait["end_ns"], trap["end_ns"]) - max(wait["ns"], trap["start_ns"]))


@settings(deadline=None, max_examples=150)
@given(histories, stalls, cuts)
def test_however_the_records_are_cut(rows: list[Row], waits: list[Row], cuts: list[int]) -> None:
    summary = LockWaits(TICK)
    fold(summary, {"trap": rows, "stall": waits}, cuts)
    expected = defaultdict[tuple[int, ...], list[Row]](list)
    usual = defaultdict[tuple[int, int], list[int]](list)
    for wait in waits:
        if not wait["penalized_tid"]:
            mine = [trap for trap in rows if trap["tgid"] == wait["tgid"]]
            if all(shared(wait, trap) < 0 for trap in mine):
                usual[wait["tgid"], wait["what"]].append(length(wait))
        elif length(wait) >= TICK:
            expected[wait["tgid"], wait["penalized_tid"], wait["what"]].append(wait)
    groups = summary.groups
    assert [(row["tgid"], row["tid"], row["what"]) for row in groups] == list(expected)
    for number, ((_, tid, _), mine) in enumerate(expected.items()):
        traps = [trap for trap in rows if trap["tid"] == tid]
        lengths = [length(wait) for wait in mine]
        found = groups[number]
        assert (found["waits"], found["waited_ns"], found["longest_ns"]) == (
            len(mine),
            sum(lengths),
            max(lengths),
        )
        assert found["trapped_ns"] == sum(max(shared(wait, trap), 0) for wait in mine for trap in traps)
        assert found["threads"] == len({wait["tid"] for wait in mine})
        assert found["interrupted"] == sum(wait["result"] < 0 for wait in mine)
        assert (found["start_ns"], found["end_ns"]) == (mine[0]["ns"], max(wait["end_ns"] for wait in mine))
        callers = Counter(wait["caller"] for wait in mine)
        assert summary.callers(number) == callers.most_common()
    for tgid in (200, 201, 202):
        for what in (1, 2):
            quiet = summary.usual(tgid, what)
            assert (quiet.waits, quiet.longest_ns) == (
                len(usual[tgid, what]),
                max(usual[tgid, what], default=0),
            )


def test_results_are_those_so_far() -> None:
    """The trap starts 5 ms into a wait of 20 ms, and the next slice has nothing but it."""
    summary = LockWaits(TICK)
    going = fold(summary, {"stall": [waited(0, 20 * MS), waited(0, 30 * MS, penalized_tid=0)]})
    assert summary.groups["trapped_ns"].tolist() == [0]
    assert summary.usual(200, 1).waits == 1
    going.update({"trap": Columns(array("trap", [completed(5 * MS)]))})
    assert summary.groups["trapped_ns"].tolist() == [13 * MS + 20_000]
    assert summary.usual(200, 1).waits == 0


def test_what_is_pending_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_waits, "MOST_PENDING", 3)
    summary = LockWaits(TICK)
    rows = [waited(n, (1 << 50) - n, penalized_tid=201 * (n % 2)) for n in range(20)]
    fold(summary, {"stall": rows}, range(20))
    assert len(summary._pending) <= 3
    assert len(summary._pending_usual) <= 3
    assert summary.groups["waits"].tolist() == [10]
    assert summary.usual(200, 1).waits == 10


def test_vcpus_above_the_limit_are_left_out() -> None:
    summary = LockWaits(TICK, most=2)
    rows = [waited(n, TICK, penalized_tid=201 + n, tid=300 + n) for n in range(5)]
    fold(summary, {"stall": rows, "trap": [completed(n, tid=202 - n) for n in range(5)]}, [1, 2])
    assert summary.groups["tid"].tolist() == [201, 202]
    assert summary.groups["waits"].tolist() == [1, 1]
