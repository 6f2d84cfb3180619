"""`sldtrace probe` beside what each kernel does."""

from typing import Any

import pytest

from sldtrace.host import kernel
from sldtrace.model import penalty
from tests.conftest import Scenario

pytestmark = pytest.mark.lab
every_kernel = pytest.mark.every_kernel("how long the penalty lasts, and that a signal ends it early")

TICK_NS = 4_000_000


@pytest.fixture
def on(scenario: Scenario) -> Any:
    return scenario.protocol["probe"]["1"]


@every_kernel
def test_the_penalty_is_this_kernels(scenario: Scenario, on: Any) -> None:
    said = on["said"]
    assert (on["status"], on["stderr"]) == (0, "")
    assert (said["verdict"], said["guest"], said["mode"]) == ("penalty of this kernel", False, "warn")
    assert said["release"] == scenario.protocol["kernel"]


@every_kernel
def test_its_length_is_the_models(scenario: Scenario, on: Any) -> None:
    """Beside the model: what the timer wheel makes of 10 ms on this kernel."""
    said = on["said"]
    version = kernel.version(said["release"])
    expected = penalty.for_kernel(said["release"], TICK_NS)
    assert expected.sleep_jiffies == (3 if version >= (6, 12) else 4)
    predicted = said["predicted"]
    assert predicted["shortest_ns"] == expected.shortest_sleep_ns
    assert predicted["shortest_ns"] - TICK_NS / 20 < said["penalized"]["median_ns"]
    assert said["penalized"]["median_ns"] < predicted["longest_ns"] + TICK_NS / 20
    assert said["penalized"]["count"] >= 10


@every_kernel
def test_detection_is_off_after_it_and_on_again(on: Any) -> None:
    said = on["said"]
    low, high = said["predicted"]["window_ns"]
    assert (low, high) == (2 * TICK_NS, 3 * TICK_NS)
    assert said["off_for_ns"] < high + TICK_NS
    assert said["on_again_ns"] > low - TICK_NS


@every_kernel
def test_who_charges_has_this_jiffy(on: Any) -> None:
    assert on["said"]["charged_tick_ns"] == TICK_NS


@every_kernel
def test_this_kernel_has_the_livelock(on: Any) -> None:
    said = on["said"]
    assert said["predicted"]["livelock"]
    assert not said["livelock"]["completed"]
    assert said["livelock"]["took_ns"] >= 300_000_000


@every_kernel
def test_in_a_vm_the_host_charges_it(scenario: Scenario, on: Any) -> None:
    """A guest of the lab's host times its own locks: as long as a program's, for the same reason."""
    done = scenario.protocol["probe"]["VM"]
    said = done["said"]
    assert (done["status"], done["stderr"]) == (0, "")
    assert (said["verdict"], said["in_vm"]) == ("penalty from outside", True)
    assert said["predicted"] == on["said"]["predicted"] | {"verdict": "penalty from outside"}
    predicted = said["predicted"]
    assert predicted["shortest_ns"] - TICK_NS / 20 < said["penalized"]["median_ns"]
    assert said["penalized"]["median_ns"] < predicted["longest_ns"] + TICK_NS / 20
    assert said["charged_tick_ns"] == TICK_NS
    assert said["aligned"]["median_ns"] < TICK_NS / 10
    assert not said["livelock"]["completed"]


@every_kernel
def test_without_the_penalty_there_is_none(scenario: Scenario) -> None:
    off = scenario.protocol["probe"]["0"]
    assert (off["status"], off["stderr"]) == (0, "")
    said = off["said"]
    assert (said["verdict"], said["mitigate"], said["penalized"]) == ("no penalty", 0, None)
    assert said["livelock"]["completed"]
    assert said["predicted"]["verdict"] == "no penalty"


def test_fatal_mode_ends_the_child_only(guests_fatal: Scenario) -> None:
    probe = guests_fatal.protocol["probe"]
    said = probe["said"]
    assert (probe["status"], said["verdict"], said["mode"]) == (
        0,
        "fatal",
        "fatal",
    )
    assert said["split"] is None
    assert said["predicted"]["verdict"] == "fatal"


def test_fatal_mode_ends_a_vm_the_same_way(guests_fatal: Scenario) -> None:
    probe = guests_fatal.protocol["probe in VM"]
    assert (probe["status"], probe["said"]["verdict"], probe["said"]["in_vm"]) == (0, "fatal", True)
    assert probe["said"]["predicted"]["verdict"] == "fatal"


def test_nothing_is_penalized_where_detection_is_off(guests_off: Scenario) -> None:
    said = guests_off.protocol["probe"]["said"]
    assert (said["verdict"], said["mode"], said["split"]["count"]) == ("no penalty", "off", 50)
    assert said["livelock"]["completed"]
