"""QEMU: what the guest's own counter says of its progress, and what sldtrace says, are the same."""

import signal
from typing import Any

import pytest

from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.trace import Trace, load
from sldtrace.host.signals import Code
from tests.conftest import Scenario
from tests.integration.vmm_truth import APART_S, FROZEN_S, findings_of, standstill_s

pytestmark = pytest.mark.lab


def of(vmm: Scenario, name: str) -> dict[str, Any]:
    found: dict[str, Any] = vmm.protocol["vms"][name]
    return found


@pytest.fixture(scope="module")
def recorded(vmm: Scenario) -> Trace:
    return load(vmm.folder / "vmm.sld")


@pytest.fixture(scope="module")
def found(recorded: Trace) -> list[Finding[Any]]:
    return catalogue.run(recorded)


def test_the_recording_is_whole(vmm: Scenario, recorded: Trace) -> None:
    assert vmm.protocol["status"] == 0, vmm.protocol["stderr"]
    assert (recorded.recording.warnings, recorded.recording.losses) == ([], [])
    assert vmm.protocol["left"]["after"] == vmm.protocol["left"]["before"]


def loop_of(vm: dict[str, Any], found: list[Finding[Any]]) -> Finding[Any]:
    (loop,) = (each for each in findings_of(vm, found) if each.kind == "early-return-loop")
    return loop


@pytest.mark.parametrize("name", ["frozen", "polled"])
def test_a_vm_that_stands_still_is_named_with_what_stops_it(
    vmm: Scenario, found: list[Finding[Any]], name: str
) -> None:
    vm = of(vmm, name)
    loop = loop_of(vm, found)
    assert loop.subject
    assert (loop.subject.vm, loop.subject.vmm) == (name, "qemu")
    assert (loop.subject.tid, loop.subject.vcpu) == (vm["tids"][0], 0)
    kick = loop.numbers.signal
    assert (kick.number, kick.code, kick.to_process) == (signal.SIGUSR1, Code.SI_TKILL, False)
    assert (kick.sender_tgid, kick.sender_tid) == (vm["pid"], vm["pid"])


def test_frozen_by_its_timer(vmm: Scenario, found: list[Finding[Any]]) -> None:
    vm = of(vmm, "frozen")
    assert standstill_s(vm) > FROZEN_S
    loop = loop_of(vm, found)
    assert loop.verdict == "livelock"
    assert loop.numbers.longest_ns / 1e9 > standstill_s(vm) - APART_S
    assert loop.remedies[1].command == "-machine kernel-irqchip=on"


def test_stopped_for_as_long_as_its_counter_says_and_then_goes_on(
    vmm: Scenario, found: list[Finding[Any]]
) -> None:
    vm = of(vmm, "polled")
    loop = loop_of(vm, found)
    assert loop.numbers.longest_ns / 1e9 == pytest.approx(standstill_s(vm), abs=APART_S)
    assert loop.end_ns <= vm["end_ns"] + APART_S * 1e9
    assert not loop.ongoing
    after = [sample for sample in vm["samples"] if sample[0] > vm["end_ns"]]
    assert after[-1][1] > after[0][1]
    assert "monitor" in loop.remedies[1].what


def test_the_same_vm_without_split_locks_is_well(
    vmm: Scenario, recorded: Trace, found: list[Finding[Any]]
) -> None:
    vm = of(vmm, "well")
    assert standstill_s(vm) < 0.2
    assert findings_of(vm, found) == []
    assert vm["pid"] not in set(recorded.traps["tgid"].tolist())
