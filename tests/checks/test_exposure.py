"""Whether a split lock can freeze a guest, from the facts of made-up hosts."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace.checks import exposure
from sldtrace.checks.bootlog import BootLog
from sldtrace.checks.exposure import Exposure
from sldtrace.checks.result import Places, State
from sldtrace.errors import SldtraceError
from sldtrace.model.generation import PENALTY, SWITCHABLE, TASK_FLAG
from tests.checks.hosts import DEBIAN, facts
from tests.host.fakeproc import proc


@pytest.mark.parametrize(
    ("changed", "expected", "why"),
    [
        ({}, Exposure.FREEZES, "12 ms or less apart"),
        ({"mitigate": None, "generation": PENALTY}, Exposure.FREEZES, "puts its vCPU to sleep"),
        ({"kvm": None}, Exposure.FREEZES, "puts its vCPU to sleep"),
        ({"mode": "fatal"}, Exposure.KILLS, "SIGBUS"),
        ({"mode": "fatal", "mitigate": 0}, Exposure.KILLS, "SIGBUS"),
        ({"mode": "fatal", "generation": TASK_FLAG}, Exposure.KILLS, "SIGBUS"),
        ({"mode": "off"}, Exposure.NONE, "split_lock_detect=off"),
        ({"mode": "ratelimit:5"}, Exposure.NONE, "split_lock_detect=ratelimit:5"),
        ({"mitigate": 0}, Exposure.NONE, "split_lock_mitigate=0"),
        ({"generation": TASK_FLAG, "mitigate": None}, Exposure.NONE, "has no penalty"),
        ({"generation": None}, Exposure.NONE, "no split-lock detection for guests"),
        ({"detects": False, "mode": "unsupported"}, Exposure.NONE, "CPU has no split-lock detection"),
        ({"detects": False, "bus": True}, Exposure.NONE, "CPU has no split-lock detection"),
        ({"detects": False, "flags": "vmx hypervisor"}, Exposure.UNKNOWN, "its host decides"),
        ({"detects": False, "bus": True, "flags": "hypervisor"}, Exposure.UNKNOWN, "In this guest bus locks"),
        ({"detects": False, "bus": True}, Exposure.NONE, "bus locks of programs trap (#DB) and are logged"),
        ({"mode": "ratelimit:10", "bus": True}, Exposure.NONE, "held to 10 bus locks a second"),
        ({"mode": "fatal", "detects": False, "bus": True}, Exposure.NONE, "locks the bus gets SIGBUS"),
    ],
)
def test_exposure(changed: dict[str, Any], expected: Exposure, why: str) -> None:
    what, said = exposure.evaluate(facts(**changed))
    assert what is expected
    assert why in said


def test_the_kernels_log_goes_before_the_command_line(tmp_path: Path) -> None:
    folder = proc(tmp_path, cmdline="split_lock_detect=off")
    (folder / "kallsyms").write_text("0 T handle_guest_split_lock\n0 t __split_lock_reenable\n")
    places = Places(proc=folder, sys=tmp_path, dev=tmp_path, root=tmp_path)
    found = exposure.read(places)
    assert (found.lock.mode, found.generation, found.kvm) == ("off", PENALTY, "kvm_intel")
    assert not found.log.readable
    assert [one.name for one in exposure.checks(found, DEBIAN)][-1] == "kernel log"
    said = exposure.mode(facts(mode="fatal", cmdline_mode="off", log=BootLog(True, True, "fatal")), DEBIAN)
    assert "fatal by the kernel's log, although the command line says off" in said.text


def test_no_proc_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SldtraceError, match="cpuinfo cannot be read"):
        exposure.read(Places(proc=tmp_path, sys=tmp_path, dev=tmp_path, root=tmp_path))


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (BootLog(True, True, "warn"), "confirmed by the kernel's log"),
        (BootLog(False), "cannot be read"),
        (BootLog(True, False), "no longer has the boot in it"),
        (BootLog(True, True), "no line about it"),
    ],
)
def test_how_the_mode_is_known(log: BootLog, said: str) -> None:
    assert said in exposure.mode(facts(log=log), DEBIAN).text


def test_what_to_do_has_commands_where_it_helps() -> None:
    sysctl = exposure.sysctl(facts())
    assert [fix.do for fix in sysctl.fixes] == [
        "sysctl kernel.split_lock_mitigate=0",
        "echo kernel.split_lock_mitigate=0 > /etc/sysctl.d/90-split-lock.conf",
    ]
    assert "before 6.15" in exposure.sysctl(facts(generation=SWITCHABLE)).fixes[0].cost
    for fine in (facts(mitigate=0), facts(mode="off"), facts(detects=False), facts(mode="fatal")):
        assert exposure.sysctl(fine).fixes == ()
    missing = exposure.sysctl(facts(mitigate=None, generation=PENALTY))
    assert "cannot be switched off" in missing.text
    assert exposure.mode(facts(), DEBIAN).fixes
    assert not exposure.mode(facts(mode="off"), DEBIAN).fixes


def test_the_kernels_thresholds_are_shown() -> None:
    said = exposure.behaviour(facts())
    assert "sleeps 12 to 16 ms" in said.text
    assert "more than 12 ms" in said.text
    assert "never at 8 ms or less" in said.text
    assert said.data["penalty"]["always_completes_above_ns"] == 12_000_000
    assert exposure.behaviour(facts(generation=TASK_FLAG)).data["penalty"] is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "raises #AC"),
        ({"detects": False}, "no split-lock detection"),
        ({"detects": False, "bus": True}, "#DB for bus locks"),
        ({"detects": False, "flags": "hypervisor"}, "inside a virtual machine"),
        ({"detects": False, "log": BootLog(True, True, None, failed=True)}, "could not write MSR_TEST_CTRL"),
    ],
)
def test_the_cpu(changed: dict[str, Any], said: str) -> None:
    assert said in exposure.cpu(facts(**changed)).text


@pytest.mark.parametrize(
    "changed",
    [
        {"mode": "off"},
        {"mode": "fatal"},
        {"mode": "fatal", "bus": True},
        {"mode": "ratelimit:10", "bus": True},
        {"detects": False, "mode": "unsupported"},
        {"detects": False, "bus": True},
        {"detects": False, "flags": "hypervisor"},
    ],
)
def test_what_the_kernel_would_do_is_not_what_it_does(changed: dict[str, Any]) -> None:
    found = facts(**changed)
    said = "SIGBUS instead" if changed.get("mode") == "fatal" else "no split lock traps here"
    assert said in exposure.behaviour(found).text
    assert "sleeps" not in exposure.behaviour(found).text
    assert not exposure.mitigate_option(found, DEBIAN).fixes
    sysctl = exposure.sysctl(found)
    assert (sysctl.state, "has no effect here" in sysctl.text) == (State.OK, True)
    assert ("does not apply to bus locks" in sysctl.text) is (found.bus_locks is not None)


def test_bus_locks() -> None:
    for having in (facts(bus=True, detects=False), facts(bus=True, mode="ratelimit:5")):
        assert exposure.bus_locks(having, DEBIAN).fixes
    # With #AC the kernel does not use #DB, except in the mode ratelimit.
    for without in (facts(), *(facts(bus=True, mode=mode) for mode in ("off", "warn", "fatal"))):
        assert exposure.bus_locks(without, DEBIAN).data == {"effect": None}


@pytest.mark.parametrize(
    ("cmdline", "said"),
    [
        ("ro split_lock_mitigate=0", True),
        ("nosplit_lock_mitigate", True),
        ("sysctl.kernel.split_lock_mitigate=0", False),
        ("split_lock_detect=off", False),
    ],
)
def test_a_sysctl_that_is_no_option(cmdline: str, said: bool, tmp_path: Path) -> None:
    folder = proc(tmp_path, cmdline=cmdline)
    (folder / "kallsyms").write_text("0 T handle_guest_split_lock\n0 t __split_lock_reenable\n")
    found = exposure.read(Places(proc=folder, sys=tmp_path, dev=tmp_path, root=tmp_path))
    checks = {check.name: check for check in exposure.checks(found, DEBIAN)}
    assert ("command line" in checks) is said
    if said:
        assert "sysctl.kernel.split_lock_mitigate=0" in checks["command line"].fixes[0].do


def test_kvm() -> None:
    assert exposure.kvm_module(facts()).fixes == ()
    (fix,) = exposure.kvm_module(facts(kvm=None)).fixes
    assert fix.do == "modprobe kvm_intel"
    (fix,) = exposure.kvm_module(facts(kvm=None, cpu={"vendor_id": "AuthenticAMD"})).fixes
    assert fix.do == "modprobe kvm_amd"
    assert exposure.kvm_module(facts()).state is State.NOTE


def test_a_live_patch_leaves_open_whether_a_guest_can_freeze(tmp_path: Path) -> None:
    folder = proc(tmp_path, cmdline="")
    (folder / "kallsyms").write_text("0 T handle_guest_split_lock\n0 t __split_lock_reenable\n")
    (tmp_path / "kernel/livepatch/hotfix/vmlinux/split_lock_warn,1").mkdir(parents=True)
    found = exposure.read(Places(proc=folder, sys=tmp_path, dev=tmp_path, root=tmp_path))
    what, said = exposure.evaluate(found)
    assert (what, said.endswith("unless a live patch has changed that")) == (Exposure.FREEZES, True)
    (check,) = (each for each in exposure.checks(found, DEBIAN) if each.name == "live patch")
    assert check.state is State.UNKNOWN
    assert "split_lock_warn is replaced by a live patch (hotfix)" in check.text
    assert check.data == {"replaced": {"split_lock_warn": ["hotfix"]}}
    assert "live patch" not in {each.name for each in exposure.checks(facts(), DEBIAN)}
