"""The guest of a guest: make test-vmm, or SLDTRACE_VMMS=1 pytest with this file; it ran by nested_vm.py."""

import os
import re
from typing import Any

import pytest

from sldtrace.analyzers import addresses
from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.trace import Trace, load
from tests.conftest import Scenario

CODE = 0x1000  # of the inner guest, examples/vmm/loop.c

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif("SLDTRACE_VMMS" not in os.environ, reason="takes long: make test-vmm"),
]


@pytest.fixture(scope="module")
def recorded(nested_vm: Scenario) -> Trace:
    return load(nested_vm.folder / "nested.sld")


@pytest.fixture(scope="module")
def found(recorded: Trace) -> dict[str, Finding[Any]]:
    return {each.kind: each for each in catalogue.run(recorded)}


def loops(nested_vm: Scenario, when: str) -> list[int]:
    """Of the inner guest, in each half second that the outer VM saw then."""
    return [int(count) for count in re.findall(r"naive +(\d+) loops in", nested_vm.protocol["printed"][when])]


def test_the_recording_is_whole(nested_vm: Scenario, recorded: Trace) -> None:
    assert nested_vm.protocol["status"] == 0, nested_vm.protocol["stderr"]
    assert (recorded.recording.warnings, recorded.recording.losses) == ([], [])


def test_polls_of_the_outer_vm_freeze_the_inner_guest_alone(nested_vm: Scenario) -> None:
    """The outer VM goes on to print; the first half second began before the polls."""
    assert all(loops(nested_vm, "before"))
    assert any(loops(nested_vm, "after"))
    assert loops(nested_vm, "during")[1:].count(0) >= 2


def test_the_verdict_is_about_the_outer_vcpu(nested_vm: Scenario, found: dict[str, Finding[Any]]) -> None:
    assert found.keys() == {"early-return-loop", "penalty-slowdown"}
    for finding in found.values():
        assert finding.subject
        assert (finding.subject.vm, finding.subject.vcpu) == ("outer", 0)
        assert finding.subject.tid == nested_vm.protocol["tids"][0]
    loop = found["early-return-loop"]
    assert loop.verdict == "livelock"
    assert loop.numbers.signal.sender_tid == nested_vm.protocol["pid"]


def test_the_address_may_be_one_of_the_inner_guest(recorded: Trace, found: dict[str, Finding[Any]]) -> None:
    loop = found["early-return-loop"]
    assert loop.rip == CODE
    assert loop.subject
    (said,) = addresses.facts(recorded, loop.subject.tgid, loop.subject.tid, loop.rip, True)
    assert "perhaps of a nested guest: the guest entered one of its own" in said.text
