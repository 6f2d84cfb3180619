"""Sums of penalties, however the records are cut."""

from hypothesis import given, settings

from sldtrace.engine.penalty_sums import PenaltySums
from tests.analyzers.synthetic import FLAGS, MS, SHORTEST, Row, completed
from tests.engine.histories import cuts, histories
from tests.engine.sliced import fold


def flagged(row: Row, name: str) -> bool:
    return bool(row["flags"] & FLAGS[name])


def _slept(row: Row) -> int:
    return min(int(row["sleep_ns"]), SHORTEST)


@settings(deadline=None, max_examples=100)
@given(histories, cuts)
def test_however_the_records_are_cut(rows: list[Row], cuts: list[int]) -> None:
    summary = PenaltySums(SHORTEST)  # shorter than the sleeps: some are late
    threads = fold(summary, {"trap": rows}, cuts).tracker.threads
    for tgid, tid in {(row["tgid"], row["tid"]) for row in rows}:
        penalized = [row for row in rows if flagged(row, "SLEPT") or flagged(row, "SEMAPHORE")]
        mine = [row for row in penalized if row["tid"] == tid]
        found = summary.sums[threads.look_up(tgid, tid)]
        assert found["traps"] == len(mine)
        if not mine:
            continue
        both = [_slept(row) + row.get("semaphore_ns", 0) for row in mine]
        early = sum(row["sleep_left_ms"] > 0 or row.get("semaphore_result", 0) < 0 for row in mine)
        watched = [row["guest_ns"] for row in mine if flagged(row, "EXITS_WATCHED")]
        expected = {
            "completed": len(mine) - early,
            "early_returns": early,
            "slept_ns": sum(_slept(row) for row in mine),
            "late_ns": sum(row["sleep_ns"] - _slept(row) for row in mine),
            "waited_ns": sum(row.get("semaphore_ns", 0) for row in mine),
            "last_lost_ns": both[-1],
            "longest_ns": max(both),
            "start_ns": mine[0]["start_ns"],
            "last_start_ns": mine[-1]["start_ns"],
            "end_ns": mine[-1]["end_ns"],
            "watched": len(watched),
            "guest_ns": sum(watched[1:]),
            "addresses": len({row["rip"] for row in mine}),
            "rip": mine[0]["rip"],
            "vcpu": ([-1] + [row["vcpu"] for row in mine if row["vcpu"] >= 0])[-1],
            "guest": True,
        }
        assert {name: found[name].item() for name in expected} == expected


def test_addresses_above_the_limit_are_not_counted() -> None:
    summary = PenaltySums(SHORTEST, most=3)
    fold(summary, {"trap": [completed(n * MS, rip=n, tid=n % 2) for n in range(10)]})
    assert summary.sums["addresses"].sum() == 3
