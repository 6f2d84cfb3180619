"""How reports call a thread."""

import pytest

from sldtrace.dataset.subject import Subject, thread


@pytest.mark.parametrize(
    ("who", "text"),
    [
        (Subject("python3", 182, "", 183, None), "python3 (PID 182, TID 183)"),
        (Subject("python3", 182, "", 182, 0), "python3 (PID 182)"),
        (Subject("", 182, "", 182, None), "a process (PID 182)"),
        (Subject("kvm", 182, "", 182, 0, vmm="qemu"), "kvm (PID 182)"),
        (Subject("kvm", 182, "", 182, 0, "web01", "0f", "qemu"), "VM web01 (qemu, PID 182)"),
        (Subject("swtpm", 182, "", 183, 0, "web01"), "VM web01 (swtpm, PID 182, TID 183)"),
        (Subject("", 182, "", 182, 0, "web01"), "VM web01 (unknown VMM, PID 182)"),
    ],
)
def test_thread(who: Subject, text: str) -> None:
    assert thread(who) == text
