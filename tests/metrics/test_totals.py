"""Counters of VMs: they follow the threads' sums, never fall, and are bounded."""

from collections.abc import Mapping
from typing import Any

from sldtrace.capture.live.detector import MAX_THREADS, Detector
from sldtrace.host.msr import DETECT
from sldtrace.metrics.totals import OTHER, Owner, Totals
from sldtrace.model import penalty
from tests.analyzers.synthetic import MS, START_NS, TICK, VCPU, VMM, array, completed, loop

KERNEL = penalty.for_kernel("6.12", TICK)
LAG = 50 * MS
SECOND = 1_000 * MS


def watching() -> Detector:
    return Detector(KERNEL, {0: 0}, LAG, LAG)


def named(tgid: int) -> Mapping[str, Any]:
    return {"comm": f"vmm-{tgid}"}


def feed(detector: Detector, rows: list[dict[str, Any]], until_ns: int) -> None:
    detector.add("trap", array("trap", rows))
    detector.advance(START_NS + until_ns)


def test_the_counters_are_the_sums_of_the_threads() -> None:
    detector = watching()
    totals = Totals(detector, 10)
    rows = loop(500)
    feed(detector, rows[:200], SECOND)
    totals.update(named, 1)
    feed(detector, rows[200:], 2 * SECOND)
    totals.update(named, 2)
    ((owner, counts),) = totals.counts.items()
    assert owner == Owner(f"vmm-{VMM}", True)
    assert (counts["traps"], counts["early_returns"], counts["completed"]) == (500, 500, 0)
    assert counts["slept_ns"] == int(detector.threads()["slept_ns"].sum())
    assert (counts.created_ns, counts.livelocked) == (1, 1)


def test_how_long_detection_was_off_is_that_of_the_detector() -> None:
    detector = watching()
    totals = Totals(detector, 10)
    writes = [(0, 0), (8 * MS, DETECT), (100 * MS, 0)]
    detector.add(
        "detection", array("detection", [{"ns": START_NS + ns, "cpu": 0, "value": on} for ns, on in writes])
    )
    detector.advance(START_NS + 110 * MS + LAG)
    totals.update(named, 1)
    assert totals.detection_off_ns == detector.detection_off_ns() == 18 * MS


def test_a_livelock_that_is_over_is_counted_no_more() -> None:
    detector = watching()
    totals = Totals(detector, 10)
    feed(detector, loop(200), SECOND)
    totals.update(named, 1)
    detector.advance(START_NS + 60 * SECOND)
    totals.update(named, 2)
    (counts,) = totals.counts.values()
    assert (counts.livelocked, counts["traps"]) == (0, 200)


def test_a_thread_that_was_dropped_stays_in_the_counter() -> None:
    detector = watching()
    totals = Totals(detector, 10)
    feed(detector, [completed(0, tid=VCPU + each) for each in range(10)], SECOND)
    totals.update(named, 1)
    many = [completed(2000 * MS, tid=VCPU + 100 + each) for each in range(MAX_THREADS)]
    feed(detector, many, 4 * SECOND)
    totals.update(named, 2)
    assert len(detector.threads()) == MAX_THREADS
    (counts,) = totals.counts.values()
    assert counts["traps"] == 10 + MAX_THREADS


def test_owners_beyond_the_most_share_a_counter() -> None:
    detector = watching()
    totals = Totals(detector, 3)
    feed(detector, [completed(each * MS, tgid=VMM + each, tid=VCPU + each) for each in range(50)], SECOND)
    totals.update(named, 1)
    assert len(totals.counts) == 4
    assert totals.counts[Owner(OTHER, True)]["traps"] == 47


def test_a_process_is_counted_by_its_name_once_that_is_known() -> None:
    detector = watching()
    totals = Totals(detector, 3)
    rows = loop(100)
    feed(detector, rows[:40], SECOND)
    totals.update(lambda tgid: {}, 1)
    feed(detector, rows[40:], 2 * SECOND)
    totals.update(named, 2)
    assert {owner.name: counts["traps"] for owner, counts in totals.counts.items()} == {
        "unknown": 40,
        f"vmm-{VMM}": 60,
    }


def test_bus_locks_of_programs_and_of_guests() -> None:
    detector = watching()
    totals = Totals(detector, 10)
    lock = {"ns": START_NS, "since_ns": START_NS, "tgid": 9, "tid": 9, "rip": 5, "count": 30, "handler_ns": 7}
    exits = {"ns": START_NS, "tgid": 100, "tid": 101, "reason": 74, "isa": 1, "vcpu": 0, "count": 4}
    for _ in range(2):
        detector.add("bus_lock", array("bus_lock", [lock]))
        detector.add("counts", array("counts", [exits, {**exits, "reason": 30}]))
        totals.update(named, 1)
    counted = {owner: (counts["bus_locks"], counts["bus_lock_ns"]) for owner, counts in totals.counts.items()}
    assert counted == {Owner("vmm-9", False): (60, 14), Owner("vmm-100", True): (8, 0)}


def test_a_vcpu_that_traps_and_has_bus_locks_is_counted_once() -> None:
    detector = watching()
    totals = Totals(detector, 10)
    feed(detector, loop(50), SECOND)
    exits = {"ns": START_NS, "tgid": VMM, "tid": VCPU, "reason": 74, "isa": 1, "vcpu": 0, "count": 4}
    detector.add("counts", array("counts", [exits]))
    totals.update(named, 1)
    ((owner, counts),) = totals.counts.items()
    assert (owner.guest, counts["traps"], counts["bus_locks"]) == (True, 50, 4)
