"""The rows of top: sums of a VM, verdicts, order."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from sldtrace.capture.live.detector import Detector
from sldtrace.capture.live.rates import Rates
from sldtrace.model import penalty
from sldtrace.top import rows
from tests.analyzers.synthetic import TICK

HOSTILE = "web\x1b[2J\u202e1"


def rates(*threads: Mapping[str, Any]) -> np.ndarray:
    """Rows as Rates.rows gives them; of what is not given, zero."""
    dtype = Rates(Detector(penalty.for_kernel("6.12", TICK), {})).rows().dtype
    found = np.zeros(len(threads), dtype)
    for row, given in zip(found, threads, strict=True):
        row["tid"] = row["tgid"] = 100
        for name, value in given.items():
            row[name] = value
    return found


def nameless(tgid: int) -> Mapping[str, Any]:
    return {"comm": f"vmm-{tgid}"}


FROZEN: dict[str, Any] = {
    "traps_per_s": 900,
    "early_returns_per_s": 900,
    "penalty_share": 0.9,
    "loop_since_ns": 5,
    "livelock": 1,
}
SLOW: dict[str, Any] = {"traps_per_s": 60, "detection_off_per_s": 60, "penalty_share": 0.7}


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (FROZEN, "livelock"),
        ({**FROZEN, "livelock": 0}, "delayed"),
        (SLOW, "penalized"),
        ({"traps_per_s": 5, "detection_off_per_s": 5}, "not penalized"),
        ({"fatal": 1}, "fatal"),
        ({"bus_locks": 9, "bus_locks_per_s": 3}, "bus locks"),
        ({"traps": 7, "bus_locks": 9}, "idle"),
    ],
)
def test_the_verdict_on_a_thread(given: Mapping[str, Any], verdict: str) -> None:
    (row,) = rows.threads(rates(given), nameless)
    assert row.verdict == verdict


def test_every_verdict_has_a_place_in_the_order() -> None:
    given: list[dict[str, Any]] = [
        FROZEN,
        {**FROZEN, "livelock": 0},
        SLOW,
        {"traps_per_s": 1},
        {"fatal": 1},
        {"bus_locks_per_s": 2},
        {},
    ]
    found = rows.ordered(rows.threads(rates(*given), nameless), "verdict")
    assert tuple(row.verdict for row in found) == rows.VERDICTS


def test_a_vm_has_the_sums_of_its_threads() -> None:
    given: list[dict[str, Any]] = [
        {"tgid": 7, "tid": 8, "vcpu": 0, "traps": 1000, "slept_ns": 5, **FROZEN, "rip": 0x10, "signal": 10},
        {"tgid": 7, "tid": 9, "vcpu": 1, "traps": 10, "waited_ns": 6, **SLOW, "rip": 0x20},
        {"tgid": 7, "tid": 10, "vcpu": 2, "traps": 1},
        {"tgid": 6, "tid": 6, "vcpu": -1, "traps": 3},
    ]
    other, vm = rows.vms(rates(*given), nameless)
    assert (other.tgid, other.threads, other.traps, other.verdict) == (6, 1, 3, "idle")
    assert (vm.tgid, vm.tid, vm.vcpu, vm.threads, vm.livelocked) == (7, None, None, 3, 1)
    assert (vm.traps, vm.penalty_ns, vm.traps_per_s, vm.early_returns_per_s) == (1011, 11, 960, 900)
    assert vm.penalty_share == pytest.approx(0.8)  # of the two that trap
    assert (vm.verdict, vm.rip, vm.signal, vm.loop_since_ns) == ("livelock", 0x10, "SIGUSR1", 5)


def test_a_vm_is_as_bad_as_its_worst_thread() -> None:
    given: list[dict[str, Any]] = [
        {"tgid": 7, "tid": 8, "traps_per_s": 5000},
        {"tgid": 7, "tid": 9, **FROZEN},
    ]
    (vm,) = rows.vms(rates(*given), nameless)
    assert (vm.verdict, vm.livelocked) == ("livelock", 1)


def test_no_threads_are_no_rows() -> None:
    assert rows.vms(rates(), nameless) == rows.threads(rates(), nameless) == []


@pytest.mark.parametrize(
    ("key", "first"),
    [("traps", 2), ("early", 1), ("penalty", 3), ("progress", 1), ("name", 1), ("verdict", 1)],
)
def test_the_order(key: str, first: int) -> None:
    given: list[dict[str, Any]] = [
        {"tid": 1, "traps_per_s": 10, "early_returns_per_s": 10, "loop_since_ns": 1, "livelock": 1},
        {"tid": 2, "traps_per_s": 99, "detection_off_per_s": 99},
        {"tid": 3, "traps_per_s": 20, "detection_off_per_s": 20, "penalty_share": 0.5},
    ]
    found = rows.ordered(rows.threads(rates(*given), nameless), key)
    assert found[0].tid == first


def test_rows_that_are_about_equal_keep_their_places() -> None:
    given: list[dict[str, Any]] = [
        {"tid": tid, "vcpu": tid, **FROZEN, "penalty_share": 0.9 + 0.001 * tid} for tid in range(3)
    ]
    found = rows.ordered(rows.threads(rates(*given), nameless), "verdict")
    assert [row.tid for row in found] == [0, 1, 2]


def test_the_name_is_the_vms_and_cannot_control_a_terminal() -> None:
    names = dict.fromkeys(("name", "uuid", "id", "namespace", "pod"), "") | {"name": HOSTILE}
    (row,) = rows.threads(rates({}), lambda _: {"comm": "qemu", "vm": names})
    assert row.name == "web\\x1b[2J\\u202e1"
    (row,) = rows.threads(rates({}), lambda _: {})
    assert row.name == "PID 100"


def test_a_thread_with_one_trap_has_no_period() -> None:
    (row,) = rows.threads(rates({"traps_per_s": 500}), nameless)
    assert row.period_ns == pytest.approx(2e6)
    (row,) = rows.threads(rates({"traps": 1}), nameless)
    assert row.period_ns is None
    assert (row.signal, row.vcpu) == ("", 0)
