"""The kernel's words in its own log."""

from pathlib import Path

import pytest

from sldtrace.checks import bootlog
from sldtrace.checks.bootlog import BootLog

FIRST = b"5,0,0,-;Linux version 6.12.107+deb13-cloud-amd64 (debian) #1 SMP\n"
AC = b"x86/split lock detection: #AC: crashing the kernel on kernel split_locks and "
WARN = b"6,310,0,-;" + AC + b"warning on user-space split_locks\n"
FATAL = b"6,310,0,-;" + AC + b"sending SIGBUS on user-space split_locks\n"
LIMIT = b"6,310,0,-;x86/split lock detection: #DB: setting system wide bus lock rate limit to 5/sec\n"
FAILED = b"6,310,0,-;x86/split lock detection: MSR access failed: Disabled\n"
TRAP = b"4,900,9,-;x86/split lock detection: #AC: CPU 0/KVM/5677 took a split_lock trap at address: 0x56\n"


@pytest.mark.parametrize(
    ("records", "begins", "mode", "failed"),
    [
        ([FIRST, WARN], True, "warn", False),
        ([WARN, TRAP], False, "warn", False),
        ([FIRST, FATAL], True, "fatal", False),
        ([FIRST, LIMIT], True, "ratelimit:5", False),
        ([FIRST, FAILED], True, None, True),
        ([FIRST, TRAP], True, None, False),
        ([], False, None, False),
        ([b"junk", b"x,y;z", b";", b"\xff\xfe,0,1,-;\xff"], False, None, False),
    ],
)
def test_mode(records: list[bytes], begins: bool, mode: str | None, failed: bool) -> None:
    found = bootlog.parse(records)
    assert (found.readable, found.begins, found.mode, found.failed) == (True, begins, mode, failed)


def test_a_program_cannot_speak_for_the_kernel() -> None:
    """What is written to /dev/kmsg has a facility other than 0."""
    assert bootlog.parse([b"12,310,0,-;" + FATAL.partition(b";")[2], WARN]).mode == "warn"


def test_a_log_that_may_not_be_read(tmp_path: Path) -> None:
    assert bootlog.read(tmp_path / "kmsg") == BootLog(readable=False)


@pytest.mark.parametrize(
    "text",
    [
        b"Kernel is locked down from EFI Secure Boot",
        b"Lockdown: systemd: use of bpf to read kernel RAM is restricted",
    ],
)
def test_a_kernel_that_is_locked_down(text: bytes) -> None:
    assert bootlog.parse([b"5,1,0,-;" + text + b"; see man kernel_lockdown.7"]).locked_down == text.decode()
    assert bootlog.parse([b"5,1,0,-;x"]).locked_down == ""
