"""The predicted line of a sweep, beside what the emulated host measured (data/, see measure.py)."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab.kernel import DEFAULT, KERNELS
from sldtrace.model import curve, penalty
from sldtrace.model.curve import Curve
from sldtrace.model.penalty import Penalty
from sldtrace.model.sources import Kind
from sldtrace.model.thread import Costs
from sldtrace.vmm.swept import Point

DATA = Path(__file__).parent / "data"
MS = 1_000_000


def runs(name: str) -> list[tuple[Penalty, Point]]:
    content: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return [
        (
            penalty.for_kernel(content["kernel"], 4 * MS, mitigate=row["mitigate"]),
            Point(row["mitigate"], row["timeout_ns"], row["loops"], row["kvm_runs"], 0, row["ran_ns"]),
        )
        for row in content["rows"]
    ]


@pytest.mark.parametrize("name", KERNELS)
def test_the_line_goes_through_the_points_of_the_lab(name: str) -> None:
    measured = runs(name)
    model = curve.fit(measured, Kind.REARMED)
    for rules, run in measured:
        rate = model.rate(rules, run.timeout_ns)
        if not curve.by_chance(rules, run.timeout_ns):
            # One second has a few dozen penalties: what the ticks decide does not average out.
            assert rate == pytest.approx(run.rate, rel=0.15), run
    # Elsewhere the model agrees on average.
    lucky = [(rules, run) for rules, run in measured if curve.by_chance(rules, run.timeout_ns)]
    assert len(lucky) == 4
    total = sum(model.rate(rules, run.timeout_ns) or 0 for rules, run in lucky)
    assert total == pytest.approx(sum(run.rate for _, run in lucky), rel=0.25)


def test_the_speed_of_the_guest_is_all_that_the_penalty_is_not_asked_for() -> None:
    """Twice as fast a guest is a line of twice the height, and no other shape."""
    measured = runs(DEFAULT)
    slow = curve.fit(measured, Kind.REARMED)
    double = [
        (rules, Point(run.mitigate, run.timeout_ns, 2 * run.loops, run.kvm_runs, 0, run.ran_ns))
        for rules, run in measured
    ]
    fast = curve.fit(double, Kind.REARMED)
    assert slow.speed is not None
    assert fast.speed == pytest.approx(2 * slow.speed)
    assert fast.costs == slow.costs
    assert slow.costs.outside_ns == pytest.approx(70_000, rel=0.3)  # what its monitor takes there


def test_without_progress_the_speed_is_not_known() -> None:
    dead = [(rules, run) for rules, run in runs(DEFAULT) if not run.loops]
    model = curve.fit(dead, Kind.REARMED)
    assert model.speed is None
    rules, run = dead[0]
    assert model.rate(rules, run.timeout_ns) is None


@pytest.mark.parametrize(("release", "dead_ms", "alive_ms"), [("6.1", 12, 16), ("6.12", 8, 12)])
def test_chance_is_one_jiffy(release: str, dead_ms: int, alive_ms: int) -> None:
    rules = penalty.for_kernel(release, 4 * MS)
    assert not curve.by_chance(rules, dead_ms * MS)
    assert curve.by_chance(rules, dead_ms * MS + 1)
    assert curve.by_chance(rules, alive_ms * MS)
    assert not curve.by_chance(rules, alive_ms * MS + 1)
    free = penalty.for_kernel("6.12", 4 * MS, mitigate=0)
    assert not curve.by_chance(free, 10 * MS)


def test_the_share_is_that_of_the_guest() -> None:
    model = Curve(Kind.REARMED, Costs(outside_ns=1_000_000), 1.0)
    off = penalty.for_kernel("6.12", 4 * MS, mode="off")
    assert model.share(off, 1 * MS) == pytest.approx(0.5, abs=0.01)
    assert model.share(off, 9 * MS) == pytest.approx(0.9, abs=0.01)
    assert model.share(penalty.for_kernel("6.12", 4 * MS), 1 * MS) == 0
