"""The log that each kernel really writes, read there and here, alone and beside the recordings."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from sldtrace.commands import log as module
from tests.conftest import Scenario

pytestmark = [
    pytest.mark.lab,
    pytest.mark.every_kernel("the lines of the kernel log"),
]

ADDRESS = 0x4018  # of the split lock in split-bts


def threads(scenario: Scenario, recording: str) -> dict[int, str]:
    """The threads that ran the guests of a recording, by TID; each guest has one vCPU."""
    guests = scenario.protocol[recording]["guests"]
    return {vcpu["tid"]: name for name in guests for vm in guests[name]["vms"] for vcpu in vm["vcpus"]}


def beside(scenario: Scenario, recording: str) -> dict[str, Any]:
    words = [
        "--format",
        "json",
        "--recording",
        scenario.folder / f"{recording}.sld",
        scenario.folder / "kernel.log",
    ]
    done = CliRunner().invoke(module.log, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.output)
    return found


def test_one_line_for_each_thread_however_often_it_traps(scenario: Scenario) -> None:
    logged = scenario.protocol["log"]["threads"]
    expected = [*threads(scenario, "fentry"), *threads(scenario, "kprobe")]
    assert [(thread["tid"], thread["kind"], thread["lines"]) for thread in logged] == [
        (tid, "split-lock", 1) for tid in expected
    ]
    assert {each["address"] for thread in logged for each in thread["addresses"]} == {f"{ADDRESS:#x}"}


def test_what_the_kernel_said_at_boot(scenario: Scenario) -> None:
    (boot,) = scenario.protocol["log"]["boots"]
    assert boot["kernel"] == scenario.protocol["kernel"]
    assert [mode["mode"] for mode in boot["modes"]] == ["warn"]
    assert scenario.protocol["log"]["lines"]["matched"].get("unknown", 0) == 0


@pytest.mark.parametrize("recording", ["fentry", "kprobe"])
def test_lines_are_joined_with_the_threads_that_trapped(scenario: Scenario, recording: str) -> None:
    found = beside(scenario, recording)
    guests = threads(scenario, recording)
    pairs = found["recording"]["pairs"]
    assert {pair["tid"] for pair in pairs} == set(guests)
    assert {(pair["when"], pair["same_name"], pair["same_address"]) for pair in pairs} == {
        ("during", True, True)
    }
    assert found["recording"]["by_boot_clock"]
    assert found["recording"]["without_line"] == []
    others = {found["threads"][each["thread"]]["tid"] for each in found["recording"]["without_trap"]}
    assert others == set(threads(scenario, {"fentry": "kprobe", "kprobe": "fentry"}[recording]))
    frozen = next(pair for pair in pairs if guests[pair["tid"]] == "frozen")
    assert frozen["traps"] > 1000 * found["threads"][frozen["thread"]]["lines"]
