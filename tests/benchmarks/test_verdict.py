"""The numbers and what must hold: each limit fails just beyond itself, and nothing unmeasured passes."""

from typing import Any

import pytest

from benchmarks.observers import outcome, plan, text
from benchmarks.observers.plan import Plan
from benchmarks.observers.table import GUESTS, OBSERVERS, Observer, Ready
from benchmarks.observers.verdict import judge

STAYS = Observer("ours", "stays", ("o",), Ready(), "out", ours=True)
COUNTS = Observer("ours counts", "times", ("o",), Ready(), ours=True)
TIMES = Observer("peer times", "times", ("p",), Ready())
TRAPS = Observer("peer traps", "traps", ("p",), Ready(), split_locks=True)
BARE = Observer("peer bare", "bare", ("p",), Ready())

# 200,000 loops in a second of 200 million instructions: 1,000 instructions a loop.
ALONE = {"cpuid": 200_000, "io": 20_000, "livelock": 1_000, "survivor": 5_000_000, "later": 200_000}


def counted(changes: dict[str, float] | None = None, stuck: bool = True) -> dict[str, Any]:
    """Results of all guests: ALONE times what `changes` say."""
    counts = {name: round(count * (changes or {}).get(name, 1)) for name, count in ALONE.items()}
    found = {
        name: {"loops": count, "kvm_runs": 50, "eintr": 50, "ran_ns": 10**9} for name, count in counts.items()
    }
    found["livelock"] |= {"loops": 0 if stuck else 1, "kvm_runs": counts["livelock"]}
    found["livelock"]["eintr"] = counts["livelock"]
    return found


def found(
    *observers: tuple[Observer, dict[str, Any]], again: dict[str, float] | None = None
) -> outcome.Outcome:
    """The outcome of a run of these."""
    measured = {
        "kernel": "6",
        "untraced": [counted(), counted(again)],
        "observers": {o.name: f for o, f in observers},
    }
    return outcome.of(Plan(GUESTS, [one for one, _ in observers]), measured)


def with_guests(changes: dict[str, float], written: int = 10_000, **more: bool) -> dict[str, Any]:
    return {"attach_s": 1.0, "written": written, "guests": counted(changes, **more)}


def failures(of: outcome.Outcome) -> list[str]:
    return [check.text for check in judge(of) if not check.holds]


def test_ratio_added_instructions_and_bytes() -> None:
    of = found((STAYS, with_guests({"cpuid": 0.5}, written=105_000)), (TIMES, with_guests({"cpuid": 0.8})))
    ours, peer = of.rows
    assert of.alone == {"cpuid": 1_000, "io": 10_000, "later": 1_000}
    assert (ours.costs["cpuid"].ratio, ours.costs["cpuid"].pair, ours.costs["cpuid"].added) == (
        0.5,
        2_000,
        1_000,
    )
    assert peer.costs["cpuid"].added == pytest.approx(250)
    assert ours.costs["livelock"].added is None
    assert ours.bytes_per_event == pytest.approx(105_000 / (1_000 + 50))
    assert peer.bytes_per_event is None


def test_a_run_of_another_length_is_compared_by_its_time() -> None:
    twice = with_guests({})
    twice["guests"]["cpuid"] = {"loops": 400_000, "kvm_runs": 50, "eintr": 50, "ran_ns": 2 * 10**9}
    (row,) = found((TIMES, twice)).rows
    assert row.costs["cpuid"].ratio == 1
    assert row.costs["cpuid"].added == 0


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"cpuid": 0.951}, None),
        ({"cpuid": 0.949}, "cpuid guest keeps"),
        ({"io": 0.949}, "io guest keeps"),
        ({"livelock": 0.981}, None),
        ({"livelock": 0.979}, "EINTR"),
        ({"livelock": 1.021}, "EINTR"),
        ({"survivor": 0}, "the survivor makes progress"),
    ],
)
def test_limits_of_what_stays_attached(changes: dict[str, float], word: str | None) -> None:
    failed = failures(found((STAYS, with_guests(changes))))
    assert len(failed) == (word is not None)
    assert word is None or word in failed[0]


def test_a_livelock_that_gets_through_while_watched_is_a_failure() -> None:
    (failed,) = failures(found((STAYS, with_guests({}, stuck=False))))
    assert "(1 loops)" in failed


@pytest.mark.parametrize(
    ("guest", "ratio", "holds"),
    [
        ("cpuid", 1_000 / 1_799, True),
        ("cpuid", 1_000 / 1_802, False),
        ("io", 10_000 / 11_030, True),
        ("io", 10_000 / 11_050, False),
    ],
)
def test_the_limits_of_counting_every_exit(guest: str, ratio: float, holds: bool) -> None:
    assert (failures(found((COUNTS, with_guests({"cpuid": 0.9, guest: ratio})))) == []) == holds


def test_ours_must_be_the_cheapest_of_those_that_do_as_much() -> None:
    ours = (COUNTS, with_guests({"cpuid": 0.6, "io": 0.95}))
    cheap, dear = {"cpuid": 0.7, "io": 0.98}, {"cpuid": 0.5, "io": 0.9}
    assert failures(found(ours, (TIMES, with_guests(dear)), (BARE, with_guests(cheap)))) == []
    for guest in ("cpuid", "io"):
        (failed,) = failures(found(ours, (TIMES, with_guests(dear | {guest: cheap[guest]}))))
        assert f"adds less to {guest} than peer times" in failed
    stays = (STAYS, with_guests({"livelock": 0.985}))
    assert failures(found(stays, (TRAPS, with_guests({"livelock": 0.97})))) == []
    (failed,) = failures(found(stays, (TRAPS, with_guests({"livelock": 0.995}))))
    assert "less than peer traps" in failed


def test_what_was_not_measured_does_not_pass() -> None:
    assert failures(found((STAYS, with_guests({}, written=0))))[0].endswith("saw no events")
    assert failures(found((TIMES, with_guests({}))))[0].endswith("not attached")
    assert "gone" in failures(found((TIMES, {"guests": {}, "failed": "gone"})))[0]
    assert "apart" in failures(found((STAYS, with_guests({})), again={"cpuid": 0.99}))[0]
    with pytest.raises(ValueError, match="livelock made no progress"):
        found(again={"livelock": 0})


def test_the_table_fits_a_terminal() -> None:
    worst = {"cpuid": 0.05, "io": 0.05, "later": 0.05}
    rows = [(one, with_guests(worst, written=10**9)) for one in OBSERVERS]
    lines = text.render(found(*rows), []).splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("perf kvm stat record") and " 5.0 " in line for line in lines)


def test_the_plan_comes_through_as_it_was() -> None:
    given = Plan(list(GUESTS), list(OBSERVERS))
    assert plan.read(plan.text(given)) == given
    traps = next(one for one in OBSERVERS if one.split_locks)
    assert [run.name for run in given.runs_for(traps)] == ["livelock", "survivor"]
