"""VMs and the timers that may kick their vCPUs."""

from typing import Any

import pytest

from sldtrace.checks import virtual_machines
from sldtrace.checks.result import State
from sldtrace.host.timers import Armed, PosixTimer
from sldtrace.host.vms.scan import VcpuThread, VirtualMachine
from sldtrace.model import penalty

PENALTY = penalty.for_kernel("6.12.1", 4_000_000)
KICK = PosixTimer(0, 10, "signal", True, 509, "CLOCK_MONOTONIC")
ALARM = PosixTimer(1, 14, "signal", False, 508, "CLOCK_REALTIME")
SILENT = PosixTimer(2, 14, "none", False, 508, "CLOCK_REALTIME")


def machine(certain: bool = True, **description: Any) -> VirtualMachine:
    given = {"comm": "qemu", "exe": "/usr/bin/qemu", "vmm": "qemu", "vm": {"name": "web01"}} | description
    return VirtualMachine(508, given, (0, 1), (VcpuThread(509, "CPU 0/KVM", 0),), certain)


def test_a_timer_that_kicks_a_vcpu() -> None:
    check = virtual_machines.virtual_machine(machine(), [KICK, SILENT], PENALTY, freezes=True)
    assert "VM web01 (qemu, PID 508): 2 vCPUs" in check.text
    assert "SIGUSR1 (to TID 509, vCPU 0)" in check.text
    assert "/proc has no interval" in check.text
    assert "12 ms or less apart, a split lock can freeze it" in check.text
    assert "--pid 508" in check.fixes[0].do
    assert [one["vcpu"] for one in check.data["timers"]] == [0, None]


def test_a_timer_of_the_process() -> None:
    check = virtual_machines.virtual_machine(machine(), [ALARM], PENALTY, freezes=False)
    assert "SIGALRM (to the process)" in check.text
    assert "12 ms" not in check.text
    assert check.fixes == ()


@pytest.mark.parametrize("found", [[], [SILENT]])
def test_none_that_signals(found: list[PosixTimer]) -> None:
    check = virtual_machines.virtual_machine(machine(), found, PENALTY, freezes=True)
    assert check.state is State.OK
    assert "no POSIX timer sends it signals" in check.text


def test_timers_that_cannot_be_read() -> None:
    check = virtual_machines.virtual_machine(machine(), None, PENALTY, freezes=True)
    assert check.state is State.UNKNOWN
    assert check.data["timers"] is None


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (machine(), "VM web01 (qemu, PID 508)"),
        (machine(vm={"name": None, "id": "fc-1"}, vmm="firecracker"), "VM fc-1 (firecracker, PID 508)"),
        (machine(vm={}, vmm=None), "qemu (PID 508)"),
        (machine(vm="damaged", vmm=None, comm=""), "a VMM (PID 508)"),
        (machine(certain=False), "VM web01 (qemu, PID 508), by its name only"),
    ],
)
def test_names(of: VirtualMachine, name: str) -> None:
    assert virtual_machines.name(of) == name


def test_what_was_not_seen_is_said() -> None:
    assert virtual_machines.overview([], all_visible=True).state is State.OK
    assert virtual_machines.overview([machine()], all_visible=False).state is State.UNKNOWN
    assert virtual_machines.armed(None).state is State.UNKNOWN
    assert "2 of setitimer or alarm, 3 of timer_create" in virtual_machines.armed(Armed(3, 2)).text
