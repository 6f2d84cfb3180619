"""VM exits by bus locks, and bus locks of programs, however the records are cut."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine.bus_locks import BusLockExits, BusLockSums, bus_lock_exits
from sldtrace.host.exits import BUS_LOCK_DETECTED, OTHER_REASONS
from sldtrace.recording import schema
from tests.analyzers.synthetic import START_NS, exited
from tests.engine.sliced import fold

ISA = schema.current().enums["isa"].values
reasons = st.tuples(st.integers(1, 3), st.sampled_from([0, 74, 0xA5]), st.sampled_from(["VMX", "SVM"]))
exits = st.lists(reasons)


@settings(deadline=None, max_examples=50)
@given(exits, st.lists(st.integers(0, 30), max_size=4))
def test_however_the_records_are_cut(given_: list[tuple[int, int, str]], cuts: list[int]) -> None:
    rows = [
        exited(at, reason=reason, tgid=9, tid=tid) | {"isa": ISA[isa]}
        for at, (tid, reason, isa) in enumerate(given_)
    ]
    summary = BusLockExits()
    fold(summary, {"exit": rows}, cuts)
    for tid in (1, 2, 3):
        mine = [
            START_NS + at
            for at, (who, reason, isa) in enumerate(given_)
            if who == tid and (isa, reason) in (("VMX", 74), ("SVM", 0xA5))
        ]
        assert summary.of(9, tid) == (len(mine), sorted({*mine[:4], *mine[-3:]}))


def test_further_threads_are_left_out() -> None:
    summary = BusLockExits(most=1)
    fold(summary, {"exit": [exited(at, reason=74, tgid=9, tid=1 + at) for at in range(3)]}, [])
    assert summary.left_out == 2
    assert np.sum([summary.of(9, tid)[0] for tid in (1, 2, 3)]) == 1


def test_which_exits_are_by_a_bus_lock_or_after_one() -> None:
    reasons = np.array([74, 30 | BUS_LOCK_DETECTED, 30, OTHER_REASONS, 0xA5], np.uint32)
    for isa, expected in (("VMX", [1, 1, 0, 0, 0]), ("SVM", [0, 0, 0, 0, 1])):
        found = bus_lock_exits(np.full(len(reasons), ISA[isa], np.uint32), reasons)
        assert found.astype(int).tolist() == expected


locks = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 9)))


@settings(deadline=None, max_examples=50)
@given(locks, st.lists(st.integers(0, 30), max_size=4))
def test_sums_of_programs_however_the_records_are_cut(
    given_: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    rows = [
        {"ns": START_NS + at + 1, "since_ns": START_NS + at, "count": count, "handler_ns": 2 * count}
        | {"tgid": 9, "tid": tid, "rip": rip}
        for at, (tid, rip, count) in enumerate(given_)
    ]
    summary = BusLockSums()
    fold(summary, {"bus_lock": rows}, cuts)
    expected: dict[tuple[int, int], int] = {}
    for tid, rip, count in given_:
        expected[tid, rip] = expected.get((tid, rip), 0) + count
    found = {(row["tid"], row["rip"]): row for row in summary.rows}
    assert {key: int(row["count"]) for key, row in found.items()} == expected
    assert all(row["handler_ns"] == 2 * row["count"] for row in found.values())
    for (tid, rip), row in found.items():
        mine = [at for at, one in enumerate(given_) if one[:2] == (tid, rip)]
        assert (row["since_ns"], row["ns"]) == (START_NS + mine[0], START_NS + mine[-1] + 1)
        assert summary.of(9, tid)[0] == sum(one[0] == tid for one in given_)


def test_programs_beyond_the_most_are_left_out() -> None:
    summary = BusLockSums(most=1)
    rows = [{"ns": START_NS + at, "tgid": 9, "tid": at, "rip": 5, "count": 1} for at in range(3)]
    fold(summary, {"bus_lock": rows}, [])
    assert (len(summary.rows), summary.left_out) == (1, 2)
