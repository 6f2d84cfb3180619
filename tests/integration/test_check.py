"""`sldtrace check` on an emulated host of each kernel, beside a guest that is frozen."""

from typing import Any

import pytest

from lab.kernel import KERNELS
from sldtrace.capture.bpf import probes
from tests.conftest import Scenario

pytestmark = [
    pytest.mark.lab,
    pytest.mark.every_kernel("what `check` knows of a kernel and reads from it"),
]


def named(scenario: Scenario, name: str) -> dict[str, Any]:
    checks = scenario.protocol["check"]["said"]["checks"]
    (found,) = [check for check in checks if check["name"] == name]
    return dict(found)


def test_the_verdict_and_the_status(scenario: Scenario) -> None:
    found = scenario.protocol["check"]
    assert (found["status"], found["stderr"]) == (3, "")
    assert (found["said"]["verdict"], found["said"]["exposure"]) == ("exposed", "freezes")
    assert found["said"]["recordable"] is True


def test_what_is_known_of_the_kernel(scenario: Scenario) -> None:
    data, known = named(scenario, "kernel")["data"], KERNELS[scenario.kernel]
    assert (data["generation"], data["penalty"]["always_completes_above_ns"]) == (
        known.generation,
        known.sleep_jiffies * known.tick_ns,
    )
    mode = named(scenario, "boot mode")["data"]
    assert (mode["mode"], mode["log"]) == ("warn", "warn")
    assert named(scenario, "cpu")["data"]["detects_split_locks"] is True


def test_the_guest_and_its_timer_are_seen(scenario: Scenario) -> None:
    data = named(scenario, "vm")["data"]
    assert (data["tgid"], data["certain"], data["vcpus"]) == (scenario.protocol["check"]["pid"], True, [0])
    (timer,) = data["timers"]
    assert (timer["signal"], timer["to_thread"], timer["clock"]) == ("SIGUSR1", True, "CLOCK_MONOTONIC")


def test_the_register_of_the_core_is_read(scenario: Scenario) -> None:
    (core,) = named(scenario, "cores")["data"]["cores"]
    assert (core["cpus"], core["detects"], core["error"]) == ([0], True, "")


def test_it_says_how_it_would_be_recorded(scenario: Scenario) -> None:
    """The same functions by the same backend as the recorder then uses."""
    data = named(scenario, "probes")["data"]
    assert set(data["fentry"]) == set(probes._FUNCTIONS)
    assert (data["kprobe"], data["missing"], data["kprobes"]) == ([], [], True)


def test_what_record_would_do_was_tried(scenario: Scenario) -> None:
    """By the recorder's own code; what is refused is named."""
    trial = named(scenario, "trial")
    assert trial["state"] in ("ok", "limit"), trial["text"]
    backends = {each["name"]: each["backend"] for each in trial["data"]["probes"]}
    assert {backends[name] for name in probes._FUNCTIONS} == {"fentry"}
