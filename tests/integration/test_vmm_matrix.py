"""All VMs of QEMU and all that wakes their vCPUs: make test-vmm, or SLDTRACE_VMMS=1 pytest with this file.

A VM that its own counter shows to be frozen by its penalties is found, with what freezes it and what to
change; no other is. What ran is in vmms.py, and vmms_page.py makes the table of docs/vmms.md from it.
"""

import os
import re
from signal import SIGUSR1
from typing import Any

import pytest

from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.findings import catalogue
from sldtrace.comparison.compare import Outcome, compare
from sldtrace.comparison.measure import measure
from sldtrace.dataset.trace import Trace, load
from sldtrace.host.signals import Code
from sldtrace.recording.window import Window
from tests.conftest import Scenario
from tests.integration.vmm_truth import APART_S, FROZEN_S, findings_of, standstill_s
from tests.integration.vmms import CASES

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif("SLDTRACE_VMMS" not in os.environ, reason="takes long: make test-vmm"),
]

MONITOR = "a monitor command that reads the vCPU's registers"
IRQCHIP = "kernel-irqchip=on"
# What freezes a VM, and the remedy that names it; else the VM is not frozen by split locks.
FROZEN = {
    "pc-split-1khz": IRQCHIP,
    "q35-split-1khz": IRQCHIP,
    "rare": IRQCHIP,
    "reset": IRQCHIP,
    "debugged": "a debugger (gdbstub)",
}
# Frozen, but not by QEMU; or without CPU, which is no freeze by split locks.
BY_OTHERS = {"traced", "stopped", "quota"}
# Not frozen all the time: the freeze ends in the middle, or another VM delays the signals at its start.
UNTIL = {"plugged", "polled-less", "two-vms"}
# Stopped by polls, with progress in between.
POLLED = ["registers", "brief"]
WELL = [case.name for case in CASES if case.name not in FROZEN.keys() | BY_OTHERS | UNTIL | {*POLLED}]


@pytest.fixture(scope="module")
def recorded(vmms: Scenario) -> Trace:
    return load(vmms.folder / "vmms.sld")


@pytest.fixture(scope="module")
def found(recorded: Trace) -> list[Finding[Any]]:
    return catalogue.run(recorded)


def of(vmms: Scenario, name: str) -> dict[str, Any]:
    vm: dict[str, Any] = vmms.protocol["vms"][name]
    return vm


def livelocks(vm: dict[str, Any], found: list[Finding[Any]]) -> list[Finding[Any]]:
    return [each for each in findings_of(vm, found) if each.verdict == "livelock"]


def test_the_recording_is_whole(vmms: Scenario, recorded: Trace) -> None:
    assert vmms.protocol["status"] == 0, vmms.protocol["stderr"]
    assert (recorded.recording.warnings, recorded.recording.losses) == ([], [])


@pytest.mark.parametrize("name", FROZEN)
def test_a_frozen_vm_is_found_with_its_cause_and_remedy(
    vmms: Scenario, recorded: Trace, found: list[Finding[Any]], name: str
) -> None:
    vm = of(vmms, name)
    assert standstill_s(vm) > FROZEN_S
    (finding,) = livelocks(vm, found)
    assert finding.subject
    assert (finding.subject.vm, finding.subject.vmm) == (name, "qemu")
    assert (finding.subject.tid, finding.subject.vcpu) == (vm["tids"][0], 0)
    kick = finding.numbers.signal
    assert (kick.number, kick.code, kick.sender_tid) == (SIGUSR1, Code.SI_TKILL, vm["pid"])
    assert FROZEN[name] in finding.remedies[1].what


@pytest.mark.parametrize("name", POLLED)
def test_a_polled_vm_stands_still_for_as_long_as_is_said(
    vmms: Scenario, found: list[Finding[Any]], name: str
) -> None:
    vm = of(vmms, name)
    (loop,) = (each for each in findings_of(vm, found) if each.kind == "early-return-loop")
    assert loop.numbers.longest_ns / 1e9 == pytest.approx(standstill_s(vm), abs=APART_S)
    assert loop.numbers.signal.sender_tid == vm["pid"]
    assert MONITOR in loop.remedies[1].what


@pytest.mark.parametrize("name", WELL)
def test_a_vm_that_makes_progress_is_not_called_frozen(
    vmms: Scenario, found: list[Finding[Any]], name: str
) -> None:
    vm = of(vmms, name)
    assert standstill_s(vm) < FROZEN_S
    assert livelocks(vm, found) == []


@pytest.mark.parametrize("name", ["registers-20ms", "pc-on-1khz"])
def test_the_remedy_applied_the_vm_makes_progress(
    vmms: Scenario, found: list[Finding[Any]], name: str
) -> None:
    """Two polls may come close together: then three penalties in a row end early."""
    vm = of(vmms, name)
    assert standstill_s(vm) < FROZEN_S / 2
    assert livelocks(vm, found) == []
    for each in findings_of(vm, found):
        assert each.kind == "penalty-slowdown" or each.numbers.longest_ns / 1e9 < standstill_s(vm) + APART_S


@pytest.mark.parametrize("name", ["cpus-1ms", "stats-1ms"])
def test_these_commands_do_not_wake_a_vcpu(vmms: Scenario, recorded: Trace, name: str) -> None:
    vm, traps = of(vmms, name), recorded.traps
    assert vm["polls"] > 50
    mine = traps[traps["tgid"] == vm["pid"]]
    assert mine["early_return"].mean() < 0.1


def test_a_vcpu_that_completes_its_penalties_frees_the_other_one_on_the_same_core(
    vmms: Scenario, found: list[Finding[Any]]
) -> None:
    """Detection is off on the core then, for both."""
    vm = of(vmms, "two-vcpus")
    assert max(standstill_s(vm, 0), standstill_s(vm, 1)) < FROZEN_S / 2
    verdicts = {(each.subject.vcpu, each.verdict) for each in findings_of(vm, found) if each.subject}
    assert {(0, "delayed"), (1, "slowed")} <= verdicts <= {(0, "delayed"), (0, "slowed"), (1, "slowed")}


def test_a_tracer_is_named(vmms: Scenario, found: list[Finding[Any]]) -> None:
    vm = of(vmms, "traced")
    assert standstill_s(vm) > FROZEN_S
    (finding,) = livelocks(vm, found)
    assert finding.numbers.ended_by[0].cause == "ptrace"


@pytest.mark.parametrize("name", ["stopped", "quota"])
def test_a_vm_without_cpu_is_not_frozen_by_split_locks(
    vmms: Scenario, found: list[Finding[Any]], name: str
) -> None:
    assert livelocks(of(vmms, name), found) == []


def test_of_two_vms_at_once_only_the_frozen_one_is_found(
    vmms: Scenario, recorded: Trace, found: list[Finding[Any]]
) -> None:
    vm = of(vmms, "two-vms")
    well = vm["acted"]
    (loop,) = (each for each in findings_of(vm, found) if each.kind == "early-return-loop")
    assert loop.subject
    assert loop.subject.vm == "two-vms"
    assert loop.numbers.longest_ns / 1e9 == pytest.approx(standstill_s(vm), abs=APART_S)
    assert IRQCHIP in loop.remedies[1].what
    assert standstill_s(vm) > FROZEN_S
    assert standstill_s(well) < FROZEN_S
    assert findings_of(well, found) == []
    assert well["pid"] not in set(recorded.traps["tgid"].tolist())


def test_a_vcpu_that_is_plugged_in_frees_the_frozen_one_on_the_same_core(
    vmms: Scenario, found: list[Finding[Any]]
) -> None:
    """No signal comes for it. Its traps are those of vCPU 1."""
    vm = of(vmms, "plugged")
    assert len(vm["acted"]) == 2
    assert [sample[2] for sample in vm["samples"]][-1] > 0
    (loop,) = (each for each in findings_of(vm, found) if each.kind == "early-return-loop")
    assert loop.subject
    assert (loop.subject.vcpu, loop.subject.tid) == (0, vm["acted"][0])
    assert loop.numbers.longest_ns / 1e9 == pytest.approx(standstill_s(vm), abs=2 * APART_S)
    slowed = {
        each.subject.vcpu
        for each in findings_of(vm, found)
        if each.kind == "penalty-slowdown" and each.subject
    }
    assert 1 in slowed


def test_the_remedy_applied_compare_says_that_it_worked(vmms: Scenario, recorded: Trace) -> None:
    """The same VM before and after the monitor is polled less."""
    vm = of(vmms, "polled-less")
    changed, (first, *_, last) = vm["acted"], (sample[0] for sample in vm["samples"])
    before, after = (
        measure(Trace(Window(recorded.recording, (start, None), (end, None))))
        for start, end in ((first, changed), (changed, last))
    )
    (row,) = (each for each in compare(before, after).rows if each.subject.vm == "polled-less")
    assert row.outcome in (Outcome.FIXED, Outcome.BETTER), row.why
    assert row.before
    assert row.after
    assert row.after.progress_per_s.value > row.before.progress_per_s.value


def test_icount_is_refused_with_kvm(vmms: Scenario) -> None:
    """QEMU's message is in docs/vmms.md."""
    icount = vmms.protocol["icount"]
    assert icount["status"] not in (None, 0)
    assert "icount" in icount["said"]


@pytest.mark.parametrize("name", POLLED)
def test_what_polls_the_monitor_is_named(vmms: Scenario, name: str) -> None:
    """As sldtrace check does it: this process of the scenario is connected, and no other."""
    assert of(vmms, name)["connected"] == {str(vmms.protocol["self"]): "python3"}


@pytest.mark.parametrize("name", POLLED)
def test_the_report_says_how_often_the_kick_comes(
    vmms: Scenario, found: list[Finding[Any]], name: str
) -> None:
    (loop,) = (each for each in findings_of(of(vmms, name), found) if each.kind == "early-return-loop")
    assert re.search(r"now the signal comes [\d,]+ times a second", loop.remedies[1].what)
