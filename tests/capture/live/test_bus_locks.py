"""The bus locks of the threads of a running recording: sums, and a bound on how many are kept."""

import numpy as np

from sldtrace.capture.live.bus_locks import BusLocks
from sldtrace.host.exits import BUS_LOCK_DETECTED
from tests.analyzers.synthetic import array

VMX = 1
NAMES = ["tgid", "tid", "guest", "rip", "bus_locks", "bus_lock_ns"]


def locked(tid: int, count: int = 1, rip: int = 5, handler_ns: int = 0) -> np.ndarray:
    return array("bus_lock", [{"tgid": 9, "tid": tid, "count": count, "rip": rip, "handler_ns": handler_ns}])


def left(reason: int, count: int) -> np.ndarray:
    row = {"tgid": 7, "tid": 8, "vcpu": 3, "reason": reason, "isa": VMX, "count": count}
    return array("counts", [row])


def test_programs_and_guests_are_added_up() -> None:
    summary = BusLocks(10)
    summary.add("bus_lock", locked(11, 5, handler_ns=70))
    summary.add("bus_lock", locked(11, 2, rip=6, handler_ns=3))
    for reason, count in ((74, 4), (30 | BUS_LOCK_DETECTED, 2), (30, 1000)):
        summary.add("counts", left(reason, count))
    found = summary.rows()
    assert found[NAMES].tolist() == [(9, 11, False, 6, 7, 73), (7, 8, True, 0, 6, 0)]
    assert found["vcpu"].tolist() == [-1, 3]


def test_without_any_there_is_no_row() -> None:
    assert len(BusLocks(10).rows()) == 0


def test_those_whose_bus_locks_are_the_oldest_are_dropped() -> None:
    summary = BusLocks(2)
    for tid in (1, 2, 1, 3):
        summary.add("bus_lock", locked(tid))
    assert summary.rows()["tid"].tolist() == [1, 3]
