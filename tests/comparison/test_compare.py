"""Before and after: known changes have their outcome, and what cannot be compared says why."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sldtrace.comparison.compare import Comparison, Outcome, compare
from sldtrace.comparison.measure import measure
from sldtrace.dataset.trace import Trace
from tests.analyzers.simulated import simulated
from tests.analyzers.synthetic import MS, VCPU, VMM, closing, completed, early, facts, loop, trace

TWO = ("--vcpus", "2", "--cpus", "2", "-d", "4s")
LIVELOCK, SLOWED = ("--timer", "1ms", *TWO), ("--timer", "20ms", *TWO)
NO_PENALTY = ("--timer", "1ms", "--mitigate", "0", *TWO)
SECONDS = 1000 * MS


def of(folder: Path, *options: str) -> Trace:
    folder.mkdir(exist_ok=True)
    return simulated(folder, *options)


def compared(before: Trace, after: Trace) -> Comparison:
    return compare(measure(before), measure(after))


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        (LIVELOCK, LIVELOCK, Outcome.SAME),
        (LIVELOCK, SLOWED, Outcome.BETTER),
        (LIVELOCK, NO_PENALTY, Outcome.FIXED),
        (SLOWED, LIVELOCK, Outcome.WORSE),
        (NO_PENALTY, LIVELOCK, Outcome.WORSE),
        (NO_PENALTY, NO_PENALTY, Outcome.SAME),
        (SLOWED, NO_PENALTY, Outcome.FIXED),
    ],
)
def test_outcomes(before: tuple[str, ...], after: tuple[str, ...], outcome: Outcome, tmp_path: Path) -> None:
    found = compared(of(tmp_path / "a", *before), of(tmp_path / "b", *after))
    assert found.outcome is outcome
    assert len(found.rows) == 2


def test_what_is_about_no_trap_is_not_called_the_same(tmp_path: Path) -> None:
    quiet = ("--mode", "off", "--spacing", "1ms", "-d", "3s")
    bus_locks = of(tmp_path / "a", "--bus-lock-exits", *quiet)
    found = compared(bus_locks, of(tmp_path / "b", *quiet))
    assert found.outcome is Outcome.NOT_COMPARABLE
    assert found.why.endswith("; findings that are not compared: bus locks")
    assert compared(of(tmp_path / "c", *quiet), of(tmp_path / "d", *quiet)).outcome is Outcome.SAME


def test_another_seed_is_the_same(tmp_path: Path) -> None:
    chance = ("--timer", "13ms", "--jitter", "3ms", "-d", "20s")
    found = compared(of(tmp_path / "a", *chance), of(tmp_path / "b", *chance, "--seed", "7"))
    assert found.outcome is Outcome.SAME
    (row,) = found.rows
    assert row.change is not None
    assert row.change.low < 0 < row.change.high


def test_rates_do_not_depend_on_the_length(tmp_path: Path) -> None:
    found = compared(of(tmp_path / "a", *LIVELOCK), of(tmp_path / "b", *LIVELOCK[:-1], "9s"))
    assert found.outcome is Outcome.SAME
    for row in found.rows:
        assert row.before is not None
        assert row.after is not None
        assert row.before.traps_per_s.value == pytest.approx(row.after.traps_per_s.value, rel=0.01)


def test_the_settings_that_changed_are_named(tmp_path: Path) -> None:
    found = compared(of(tmp_path / "a", *LIVELOCK), of(tmp_path / "b", *NO_PENALTY, "--hz", "1000"))
    names = {each.name: (each.before, each.after) for each in found.settings}
    assert names == {"split_lock.mitigate": ("1", "0"), "kernel.tick_ns": ("4000000", "1000000")}


def recorded(folder: Path, rows: list[dict[str, int]], **rest: Any) -> Trace:
    folder.mkdir(exist_ok=True)
    return trace(folder, rows, ended=closing(len(rows)), **rest)


def slow(tid: int = VCPU, **fields: int) -> list[dict[str, int]]:
    return [completed(index * 100 * MS, tid=tid) | fields for index in range(80)]


def test_a_vcpu_that_traps_no_more_is_not_called_fixed(tmp_path: Path) -> None:
    """It may not have run."""
    before = recorded(tmp_path / "a", [*slow(), *slow(VCPU + 1, vcpu=1)])
    found = compared(before, recorded(tmp_path / "b", slow()))
    by_vcpu = {row.subject.vcpu: row for row in found.rows}
    assert by_vcpu[0].outcome is Outcome.SAME
    assert by_vcpu[1].outcome is Outcome.NOT_COMPARABLE
    assert by_vcpu[1].why == "no trap of it in AFTER: fixed, if it ran and did the same work"


def test_a_vm_is_matched_by_its_name_whatever_its_pid(tmp_path: Path) -> None:
    def of_vm(folder: Path, tgid: int) -> Trace:
        vm: dict[str, Any] = {
            "name": "web01",
            "uuid": None,
            "id": None,
            "namespace": None,
            "pod": None,
            "source": {},
        }
        who = {"comm": "qemu", "vmm": "qemu", "vm": vm}
        rows = [row | {"tgid": tgid, "tid": tgid + 1} for row in slow()]
        return recorded(folder, rows, updates=[{"processes": {str(tgid): who}}])

    found = compared(of_vm(tmp_path / "a", 700), of_vm(tmp_path / "b", 900))
    assert [row.outcome for row in found.rows] == [Outcome.SAME]
    assert found.rows[0].subject.vm == "web01"


def test_addresses_are_matched_and_taken_together_where_none_is_the_same(tmp_path: Path) -> None:
    one = recorded(tmp_path / "a", slow(rip=0x1000))
    same = compared(one, recorded(tmp_path / "b", slow(rip=0x1000)))
    assert [row.rip for row in same.rows] == [0x1000]
    moved = compared(one, recorded(tmp_path / "c", slow(rip=0x2000)))
    assert [(row.rip, row.outcome) for row in moved.rows] == [(None, Outcome.SAME)]


def test_threads_with_one_name_cannot_be_distinguished(tmp_path: Path) -> None:
    rows = [*slow(), *(row | {"tgid": VMM + 500, "tid": VCPU + 500} for row in slow())]
    found = compared(recorded(tmp_path / "a", rows), recorded(tmp_path / "b", rows))
    assert found.outcome is Outcome.NOT_COMPARABLE
    assert "cannot be distinguished" in found.rows[0].why


def test_what_is_too_short_or_has_lost_traps_is_not_comparable(tmp_path: Path) -> None:
    whole = recorded(tmp_path / "a", slow())
    short = of(tmp_path / "b", "--timer", "1ms", "-d", "1s")
    assert compared(short, short).why == "BEFORE has 1 s only; record 2 s or more"
    lost = [{"ns": 0, "cpu": 0, "kind": 1, "cause": 1, "count": 10}]
    assert compared(whole, recorded(tmp_path / "c", slow(), lost=lost)).why == (
        "in AFTER 10 traps of 90 were lost"
    )
    assert "simulated" in compared(of(tmp_path / "d", *LIVELOCK), whole).why


def test_without_traps_all_is_the_same(tmp_path: Path) -> None:
    def empty(folder: Path) -> Trace:
        folder.mkdir()
        ended = {"clock": {"monotonic_ns": facts()["clock"]["monotonic_ns"] + 9 * SECONDS, "realtime_ns": 0}}
        return trace(folder, [], ended=closing(0) | ended)

    found = compared(empty(tmp_path / "a"), empty(tmp_path / "b"))
    assert (found.outcome, found.rows) == (Outcome.SAME, [])


def test_the_sums_of_a_thread_are_those_of_the_report(tmp_path: Path) -> None:
    recorded_ = of(tmp_path, *LIVELOCK)
    found = compared(recorded_, recorded_)
    assert sum(row.before.traps for row in found.rows if row.before) == recorded_.recording.counts["trap"]
    assert dataclasses.asdict(found.rows[0])["before"]["progress_per_s"]["value"] == 0


def test_a_loop_that_ends_is_better_for_the_time_that_it_took(tmp_path: Path) -> None:
    before = recorded(tmp_path / "a", loop(8000))
    after = recorded(tmp_path / "b", [*loop(500), *(completed(index * 100 * MS) for index in range(10, 80))])
    found = compared(before, after)
    assert found.outcome is Outcome.BETTER
    (row,) = found.rows
    assert row.change is not None
    assert row.change.high < 0


RARE = [completed(index * 1000 * MS) for index in range(1, 10)]


def test_a_finding_that_one_block_decides_about_may_be_chance(tmp_path: Path) -> None:
    once, never = recorded(tmp_path / "a", [*loop(300), *RARE]), recorded(tmp_path / "b", RARE)
    for before, after, why in (
        (once, never, "livelock before, no finding after"),
        (never, once, "no finding before, livelock after"),
    ):
        found = compared(before, after)
        assert found.outcome is Outcome.CANNOT_TELL
        assert found.why.startswith(f"{why}, but that may be chance")
        (row,) = found.rows
        assert row.change is not None
        assert row.progress_change is not None
        assert not row.change.excludes_0
        assert not row.progress_change.excludes_0


def test_what_varies_too_much_is_not_called_the_same(tmp_path: Path) -> None:
    burst = recorded(tmp_path / "a", [completed(index * 20 * MS) for index in [*range(100), 400]])
    found = compared(burst, burst)
    assert found.outcome is Outcome.CANNOT_TELL
    assert found.why == "the time in penalties varies too much; record longer"


def test_where_the_time_is_the_same_progress_decides(tmp_path: Path) -> None:
    early = [
        row for index in range(0, 240, 3) for row in (*pair(index), completed(index * 50 * MS + 100 * MS))
    ]
    done = [completed(index * 50 * MS) for index in range(240)]
    found = compared(recorded(tmp_path / "a", early), recorded(tmp_path / "b", done))
    assert (found.outcome, found.why) == (Outcome.BETTER, "more progress")
    found = compared(recorded(tmp_path / "c", done), recorded(tmp_path / "d", early))
    assert (found.outcome, found.why) == (Outcome.WORSE, "less progress")


def pair(index: int) -> list[dict[str, int]]:
    """Two early returns as long as a penalty, which a third one follows: no loop."""
    return [early((index + at) * 50 * MS, 13 * MS, left_ms=1) for at in (0, 1)]
