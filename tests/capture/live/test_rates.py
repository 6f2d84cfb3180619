"""Rates of threads between two looks at the detector."""

import numpy as np
import pytest

from sldtrace.capture.live.detector import Detector
from sldtrace.capture.live.rates import Rates
from sldtrace.model import penalty
from tests.analyzers.synthetic import MS, START_NS, TICK, VCPU, VMM, array, completed, detections, loop

KERNEL = penalty.for_kernel("6.12", TICK)
LAG = 50 * MS
SECOND = 1_000 * MS


def watching() -> Detector:
    return Detector(KERNEL, {0: 0, 1: 1}, LAG, LAG)


def test_the_rates_are_those_of_the_time_between_two_looks() -> None:
    detector = watching()
    rates = Rates(detector)
    rows = [*loop(3000), *(completed(at * 20 * MS, tid=VCPU + 1, start_cpu=1) for at in range(150))]
    traps = array("trap", sorted(rows, key=lambda row: row["end_ns"]))
    writes = array("detection", detections(rows))
    looks = []
    for second in range(3):
        now = START_NS + (second + 1) * SECOND
        for kind, records in (("trap", traps), ("detection", writes)):
            ends = records["end_ns" if kind == "trap" else "ns"]
            detector.add(kind, records[(ends >= now - SECOND) & (ends < now)])
        detector.advance(now)
        looks.append({int(row["tid"]): row.copy() for row in rates.rows()})
    assert looks[0][VCPU]["traps_per_s"] == 0
    for look in looks[1:]:
        frozen, slow = look[VCPU], look[VCPU + 1]
        assert frozen["traps_per_s"] == pytest.approx(1000, rel=0.01)
        assert frozen["early_returns_per_s"] == frozen["traps_per_s"]
        assert frozen["detection_off_per_s"] == 0
        assert frozen["penalty_share"] == pytest.approx(0.95, abs=0.01)
        assert (frozen["loop_since_ns"], frozen["livelock"]) == (START_NS, True)
        assert slow["detection_off_per_s"] == slow["traps_per_s"] == pytest.approx(50, abs=2)
        assert slow["penalty_share"] == pytest.approx(0.65, abs=0.05)
        assert (slow["loop_since_ns"], slow["livelock"]) == (0, False)


def test_the_sums_are_there_from_the_first_look() -> None:
    detector = watching()
    detector.add("trap", array("trap", loop(100)))
    detector.advance(START_NS + SECOND)
    (row,) = Rates(detector).rows()
    assert (row["tgid"], row["tid"], row["traps"], row["early_returns"]) == (VMM, VCPU, 100, 100)


def test_a_thread_that_traps_no_more_has_no_rates_and_is_in_no_loop() -> None:
    detector = watching()
    rates = Rates(detector)
    detector.add("trap", array("trap", loop(200)))
    detector.advance(START_NS + SECOND)
    assert rates.rows()["livelock"].tolist() == [True]
    for second in range(2, 6):
        detector.advance(START_NS + second * SECOND)
        (row,) = rates.rows()
    assert (row["traps"], row["traps_per_s"], row["penalty_share"]) == (200, 0, 0)
    assert (row["loop_since_ns"], row["livelock"]) == (0, False)


def test_without_new_records_the_rates_of_the_last_look_stay() -> None:
    """A look that comes before the next evaluation must not show a rate of zero."""
    detector = watching()
    rates = Rates(detector)
    traps = array("trap", loop(2000))
    for now in (START_NS + SECOND, START_NS + 2 * SECOND):
        detector.add("trap", traps[(traps["end_ns"] < now) & (traps["end_ns"] >= now - SECOND)])
        detector.advance(now)
        shown = rates.rows()["traps_per_s"].tolist()
    assert shown[0] > 900
    assert rates.rows()["traps_per_s"].tolist() == shown


def test_a_thread_that_came_in_between_has_the_rates_of_all_its_traps() -> None:
    detector = watching()
    rates = Rates(detector)
    detector.add("trap", array("trap", loop(900)))
    detector.advance(START_NS + SECOND)
    rates.rows()
    detector.add("trap", array("trap", loop(500, SECOND, tid=VCPU + 5)))
    detector.advance(START_NS + 2 * SECOND)
    found = {int(row["tid"]): float(row["traps_per_s"]) for row in rates.rows()}
    assert found == {VCPU: 0, VCPU + 5: pytest.approx(500, rel=0.01)}
    assert np.isfinite(rates.rows()["penalty_share"]).all()
