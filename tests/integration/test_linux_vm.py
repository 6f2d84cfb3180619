"""A Linux guest in QEMU: make test-vmm, or SLDTRACE_VMMS=1 pytest with this file; it ran by linux_vm.py."""

import os
from typing import Any

import pytest

from sldtrace.analyzers import addresses
from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset import symbols
from sldtrace.dataset.trace import Trace, load
from tests.conftest import Scenario
from tests.integration.vmm_truth import APART_S, FROZEN_S, findings_of, standstill_s

MONITOR = "a monitor command that reads the vCPU's registers"

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif("SLDTRACE_VMMS" not in os.environ, reason="takes long: make test-vmm"),
]


@pytest.fixture(scope="module")
def recorded(linux_vm: Scenario) -> Trace:
    return load(linux_vm.folder / "linux.sld", symbols.read(linux_vm.folder.parents[1] / "linux_guest"))


@pytest.fixture(scope="module")
def found(linux_vm: Scenario, recorded: Trace) -> dict[str, Finding[Any]]:
    return {each.kind: each for each in findings_of(linux_vm.protocol["polled"], catalogue.run(recorded))}


def test_the_recording_is_whole(linux_vm: Scenario, recorded: Trace) -> None:
    assert linux_vm.protocol["status"] == 0, linux_vm.protocol["stderr"]
    assert (recorded.recording.warnings, recorded.recording.losses) == ([], [])


def test_the_program_in_the_guest_is_found(linux_vm: Scenario, found: dict[str, Finding[Any]]) -> None:
    assert found.keys() == {"early-return-loop", "penalty-slowdown"}
    for finding in found.values():
        assert finding.subject
        assert (finding.subject.vm, finding.subject.vmm, finding.subject.vcpu) == ("debian", "qemu", 0)
        assert finding.subject.tid == linux_vm.protocol["polled"]["tids"][0]


def test_its_address_has_the_functions_name(recorded: Trace, found: dict[str, Finding[Any]]) -> None:
    rip = found["early-return-loop"].rip
    assert rip is not None
    assert set(recorded.traps["rip"]) == {rip}
    assert str(addresses.symbol(recorded, rip, True)).startswith("main+")


def test_without_polls_it_is_slowed(linux_vm: Scenario, found: dict[str, Finding[Any]]) -> None:
    vm = linux_vm.protocol["undisturbed"]
    assert standstill_s(vm) < FROZEN_S / 2
    assert found["penalty-slowdown"].start_ns < vm["samples"][0][0]
    assert found["early-return-loop"].start_ns > vm["samples"][-1][0]


def test_polled_it_stands_still_for_as_long_as_is_said(
    linux_vm: Scenario, found: dict[str, Finding[Any]]
) -> None:
    vm, loop = linux_vm.protocol["polled"], found["early-return-loop"]
    assert standstill_s(vm) > FROZEN_S
    assert loop.numbers.longest_ns / 1e9 == pytest.approx(standstill_s(vm), abs=2 * APART_S)
    assert loop.numbers.signal.sender_tid == vm["pid"]
    assert MONITOR in loop.remedies[1].what
