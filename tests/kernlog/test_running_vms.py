"""The VMs of logged threads that still live, by a made-up /proc."""

from pathlib import Path

import pytest

from sldtrace.kernlog import running_vms
from sldtrace.kernlog.survey import Survey
from tests.host.fakeproc import process
from tests.kernlog.test_survey import surveyed, trap

QEMU = [b"/usr/bin/qemu-system-x86_64", b"-name", b"guest=web01,debug-threads=on"]


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    exe = QEMU[0]
    process(tmp_path, 500, b"qemu-system-x86", exe, cmdline=QEMU)
    process(tmp_path, 501, b"CPU 0/KVM", exe, thread_of=500, cmdline=QEMU)
    process(tmp_path, 900, b"dosemu.bin", b"/usr/bin/dosemu.bin", cmdline=[b"dosemu.bin"])
    return tmp_path


def names(survey: Survey, proc: Path) -> list[str]:
    running_vms.name_vms(survey, proc)
    return [thread.vm for thread in survey.traps()]


def test_threads_of_a_vm_get_its_name(proc: Path) -> None:
    assert names(surveyed(trap(tid=501), trap("qemu-system-x86", 500)), proc) == ["web01", "web01"]


def test_threads_that_are_no_vms_do_not_keep_others_from_their_names(proc: Path) -> None:
    lines = [trap(tid=502), trap("CPU 1/KVM", 501), trap("dosemu.bin", 900), trap(tid=501)]
    assert names(surveyed(*lines), proc) == ["", "", "", "web01"]


@pytest.mark.parametrize(
    "line",
    [
        trap(tid=502),  # has ended
        trap("CPU 1/KVM", 501),  # another thread's number
        trap("dosemu.bin", 900),  # no VM
        trap("x", 9_999_999_999),
    ],
)
def test_others_get_none(line: str, proc: Path) -> None:
    assert names(surveyed(line), proc) == [""]
