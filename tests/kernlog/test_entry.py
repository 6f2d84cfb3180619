"""Single lines in all the forms that people and tools keep them in."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sldtrace.kernlog import entry
from sldtrace.kernlog.entry import Entry
from sldtrace.kernlog.message import (
    Hypervisor,
    Kernel,
    Message,
    Mode,
    Oops,
    Option,
    Suppressed,
    Trap,
    Unknown,
)
from sldtrace.kernlog.prefix import Stamp
from tests.kernlog.read import entries, survey


def parse(line: bytes) -> Entry | None:
    """The only entry of a line."""
    found = entry.parse(line)
    assert len(found) < 2
    return found[0] if found else None


SPLIT, BUS = "split-lock", "bus-lock"
REPORTS = (Path(__file__).parent / "data" / "field-reports.log").read_bytes().splitlines()


def trap(kind: str, comm: str, tid: int, address: int | None, origin: str = "") -> Trap:
    return Trap(kind, comm.encode(), tid, origin, address)


REPORTED: list[tuple[Message, str]] = [
    (trap(SPLIT, "dosemu.bin", 3483, 0x1795), ""),
    (
        Mode(
            "warn",
            "#AC: crashing the kernel on kernel split_locks and warning on user-space split_locks",
        ),
        "calypso",
    ),
    (trap(SPLIT, "dosemu2.bin", 95550, 0x496C), "calypso"),
    (trap(SPLIT, "EMT-3", 187133, 0x81B185BF), ""),
    (trap(SPLIT, "qemu-system-x86", 4185, 0x699E4DC1), ""),
    (trap(SPLIT, "CPU 0/KVM", 5677, 0x56339A9888C3), "myhost"),
    (trap(SPLIT, "CPU 1/KVM", 3302738, 0xBFF4B050), ""),
    (trap(SPLIT, "CPU 1/KVM", 175479, 0x7EFB5050), "diamond"),
    (trap(SPLIT, "qemu-system-x86", 10167, 0x3FF2624D), ""),
    (trap(SPLIT, "CJobMgr::m_Work", 1383782, 0xF23D6263), ""),
    (trap(BUS, "CHTTPClientThre", 3034, 0xE783C304), ""),
    (trap(BUS, "CHTTPClientThre", 3034, 0xE783C304), "bazzite"),
    (trap(SPLIT, "CJobMgr::m_Work", 1383782, 0xF23D6263), ""),
    (trap(SPLIT, "CJobMgr::m_Work", 1383782, 0xF23D6263), ""),
    (Suppressed("handle_bus_lock", 102), ""),
    (trap(SPLIT, "bambustu_main", 414842, 0x707E49B7B223), ""),
    (trap(SPLIT, "osu!.exe", 11382, 0x7AA6806D), ""),
    (Suppressed("split_lock_warn", 1), ""),
    (trap(BUS, "remake", 737636, 0x5555555645D6), ""),
    (Oops(), ""),
    (trap(SPLIT, "fc_vcpu61", 257319, 0x40179D), ""),
    (trap(SPLIT, "CPU 0/KVM", 88279, 0xFFFFF80104613BE8), "neon"),
    (trap(SPLIT, "CPU 2/KVM", 4242, 0xFFFFF8010465701C), "since"),
    (trap(SPLIT, "vmm", 61253, 0xFFFFFFFF810238B0), ""),
    (trap(BUS, "sl_test", 5137, 0x4011F5), ""),
    (trap("split-lock-call", "CContentUpdateC", 50910, None, "user"), ""),
]


@pytest.mark.parametrize(("line", "expected"), list(zip(REPORTS, REPORTED, strict=True)))
@pytest.mark.parametrize("end", [b"", b"\r", b"  \t"])
def test_reported_lines(line: bytes, expected: tuple[Message, str], end: bytes) -> None:
    found = parse(line + end)
    assert found is not None
    assert (found.message, found.host, found.kernel) == (*expected, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#AC: a/1 took a/22 took a split_lock trap at address: 0x1", trap(SPLIT, "a/1 took a", 22, 1)),
        ("#AC: /7 took a split_lock trap at address: 0x1", trap(SPLIT, "", 7, 1)),
        ("#AC: #AC: x/8/9 took a split_lock trap at address: 0x1", trap(SPLIT, "#AC: x/8", 9, 1)),
        ("#AC: x/9 (guest) took a split_lock trap at address: 0x1", trap(SPLIT, "x", 9, 1, "guest")),
        ("#AC: x/9 (user) took a split_lock trap at address: 0x1", trap(SPLIT, "x", 9, 1, "user")),
        ("#AC: x/9 fatal split_lock trap at address: 0x1", trap("split-lock-fatal", "x", 9, 1)),
        ("#AC: x/9 bogus split_lock trap at address: 0x1", trap("split-lock-bogus", "x", 9, 1)),
        ("#AC: x/9 took a split_lock trap at address: " + "f" * 16, trap(SPLIT, "x", 9, (1 << 64) - 1)),
        ("#AC: x/9 took a split_lock trap at address: 0x" + "f" * 17, trap(SPLIT, "x", 9, None)),
        ("#AC: x/9 took a split_lock trap at address: 0x", trap(SPLIT, "x", 9, None)),
        ("#AC: x/9 took a split_lock trap at addr", trap(SPLIT, "x", 9, None)),
        ("#AC: x/9 took a split_lo", Unknown(b"split lock detection: #AC: x/9 took a split_lo")),
        ("#DB: setting system wide bus lock rate limit to 5/sec",
         Mode("ratelimit:5", "#DB: setting system wide bus lock rate limit to 5/sec")),
        ("#DB: warning on user-space bus_locks", Mode("warn", "#DB: warning on user-space bus_locks")),
        ("#DB: sending SIGBUS on user-space bus_locks",
         Mode("fatal", "#DB: sending SIGBUS on user-space bus_locks")),
        ("disabled", Mode("off", "disabled")),
        ("MSR access failed: Disabled", Mode("no-access", "MSR access failed: Disabled")),
    ],
)  # fmt: skip
def test_messages(text: str, message: Message) -> None:
    found = parse(b"split lock detection: " + text.encode())
    assert found is not None
    assert found.message == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[    0.000000] Linux version 6.1.0-26-amd64 (x@y) #1 SMP", Kernel("6.1.0-26-amd64")),
        ("[    0.0] Kernel command line: quiet split_lock_detect=off x", Option("off")),
        ("[    0.0] Command line: split_lock_detect=off x split_lock_detect=warn", Option("warn")),
        ("[    0.0] Command line: split_lock_mitigate=0", Option("", mitigate=True)),
        ("[    0.0] Hypervisor detected: KVM", Hypervisor("KVM")),
        ("[    0.0] Command line: split_lock_detect=ratelimit:5", Option("ratelimit:5")),
        ("[  106.000000] Split lock detected", Oops()),
        ("[  106.000000] Oops: Split lock detected: 0000 [#1] SMP", Oops()),
    ],
)
def test_other_messages(line: str, message: Message) -> None:
    found = parse(line.encode())
    assert found is not None
    assert found.message == message


@pytest.mark.parametrize(
    "line",
    [
        "arch/x86/kernel/cpu/bus_lock.c: split_lock_verify_msr",
        "the Split lock detected yesterday",
        "hello Linux version 6.1 of it",
        "kworker/0:1-9  [000] ..... 468.269056: __split_lock_reenable <-process_one_work",
        "split_lock_warn <-handle_user_split_lock",
    ],
)
def test_what_is_about_something_else(line: str) -> None:
    assert parse(line.encode()) is None


@pytest.mark.parametrize(
    ("line", "kind", "comm", "tid", "origin", "boot_ns"),
    [
        ("     CPU 0/KVM-5677  [001] .....  468.269056: split_lock_warn <-handle_guest_split_lock",
         "split-lock-call", "CPU 0/KVM", 5677, "guest", 468_269_056_000),
        ("CPU 0/KVM-5677  (   5670) [001] .....  468.269056: handle_guest_split_lock <-vmx_handle_exit",
         "split-lock-call", "CPU 0/KVM", 5677, "guest", 468_269_056_000),
        ("  a-b-77 [000]    12.000001: function:             split_lock_warn <-- handle_user_split_lock",
         "split-lock-call", "a-b", 77, "user", 12_000_001_000),
        ("  <...>-77  [000] d.h..    12.000001: handle_bus_lock <-exc_debug_user",
         "bus-lock-call", "<...>", 77, "user", 12_000_001_000),
    ],
)  # fmt: skip
def test_the_function_tracer(line: str, kind: str, comm: str, tid: int, origin: str, boot_ns: int) -> None:
    found = parse(line.encode())
    assert found is not None
    assert found.message == Trap(kind, comm.encode(), tid, origin, None)
    assert found.stamp.boot_ns == boot_ns


MESSAGE = "x86/split lock detection: #AC: CPU 0/KVM/5677 took a split_lock trap at address: 0x7c40"
FIELDS: dict[str, Any] = {
    "MESSAGE": MESSAGE,
    "__REALTIME_TIMESTAMP": "1781360839694458",
    "__MONOTONIC_TIMESTAMP": "99",
    "_SOURCE_MONOTONIC_TIMESTAMP": "180886150",
    "_HOSTNAME": "calypso",
    "_BOOT_ID": "0f" * 16,
    "_TRANSPORT": "kernel",
}
JOURNAL = Entry(
    trap(SPLIT, "CPU 0/KVM", 5677, 0x7C40),
    Stamp("1781360839694458", 1_781_360_839_694_458_000, boot_ns=180_886_150_000),
    "calypso",
    "0f" * 16,
)


@pytest.mark.parametrize("lead", ["", "\x1e", "data: "])
@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,
        list(MESSAGE.encode()),
        [MESSAGE, "twice"],
        ["other", list(MESSAGE.encode())],
        f"a\n{MESSAGE}\nb",
    ],
)
def test_the_journal(message: Any, lead: str) -> None:
    line = lead + json.dumps({**FIELDS, "MESSAGE": message}, separators=(",", ":"))
    assert parse(line.encode()) == JOURNAL


def test_bytes_of_the_journal_that_are_no_text() -> None:
    comm = b"\xff\x1b[31m"
    message = list(MESSAGE.encode().replace(b"CPU 0/KVM", comm))
    found = parse(json.dumps({**FIELDS, "MESSAGE": message}).encode())
    assert found is not None
    assert isinstance(found.message, Trap)
    assert found.message.comm == comm


@pytest.mark.parametrize("transport", ["syslog", "stdout", "journal"])
def test_a_program_can_write_into_the_journal_but_is_not_the_kernel(transport: str) -> None:
    found = parse(json.dumps({**FIELDS, "_TRANSPORT": transport}).encode())
    assert found is not None
    assert not found.kernel


def test_the_journal_when_it_is_laid_out_over_several_lines() -> None:
    found = parse(f'\t"MESSAGE" : "{MESSAGE}",'.encode())
    assert found is not None
    assert found.message == JOURNAL.message


def test_a_container_log_around_the_line() -> None:
    line = json.dumps({"log": f"[  180.886150] {MESSAGE}\n", "stream": "stdout"})
    found = parse(line.encode())
    assert found is not None
    assert found.message == JOURNAL.message
    assert found.stamp.boot_ns == 180_886_150_000


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([MESSAGE, "split_lock"])
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), values))
def test_fields_of_any_type(fields: dict[str, Any]) -> None:
    for found in entry.parse(json.dumps(fields).encode()):
        assert found.stamp.wall_ns is None or found.stamp.wall_ns >= 0


@pytest.mark.parametrize(
    "line", [b'{"MESSAGE":' + b"[" * 60_000, b'{"MESSAGE":1' + b"0" * 60_000 + b"}", b"{", b"[]"]
)
def test_json_that_is_made_to_break_readers(line: bytes) -> None:
    assert parse(line) is None


TEXT = "x86/split lock detection: #AC: CPU 1/KVM/65886 took a split_lock trap at address: 0x7c40"
SECOND = 1_000_001_000


@pytest.mark.parametrize(
    "wrapped",
    [
        TEXT.replace(" address", "\naddress"),
        TEXT.replace(" detection", "\ndetection"),
        TEXT.replace(" 1/KVM", "\n1/KVM"),
        TEXT.replace("1/KVM", "1/K\nVM"),
        TEXT.replace("trap", "tr\nap"),
        TEXT.replace("0x7c40", "0x7\nc40"),
        TEXT.replace(" #AC", "\n#AC").replace(" trap", "\ntrap"),
    ],
)
@pytest.mark.parametrize("quote", ["", "> > "])
def test_a_line_that_is_wrapped_anywhere(wrapped: str, quote: str) -> None:
    lines = f"[    1.000001] {wrapped}\n[    2.000000] usb 1-1: new device".splitlines()
    (found,) = entries("".join(f"{quote}{line}\n" for line in lines).encode())
    assert found.message == trap(SPLIT, "CPU 1/KVM", 65886, 0x7C40)
    assert found.stamp.boot_ns == SECOND


@pytest.mark.parametrize(
    ("line", "host", "file"),
    [
        ("192.168.1.7 [    1.000001] {}", "192.168.1.7", ""),
        ("192.168.1.7:6665 4,1234,1000001,-;{}", "192.168.1.7", ""),
        ("fe80::1 4,1234,1000001,-;{}", "fe80::1", ""),
        ("6.4.0,4,1234,1000001,-,caller=T1;{}", "", ""),
        ("Mar 26 11:13:52 192.168.1.7 [    1.000001] {}", "192.168.1.7", ""),
        ("2026-06-13T15:27:19Z INFO kernel: [    1.000001] {}", "", ""),
        ("node3/dmesg.txt:[    1.000001] {}", "", "node3/dmesg.txt"),
        ("kern.log:Mar 26 11:13:52 h kernel: [    1.000001] {}", "h", "kern.log"),
        ("   12 | [    1.000001] {}", "", ""),
        ("`[    1.000001] {}`", "", ""),
        ("2026-01-01T00:00:00.5Z stdout F [    1.000001] {}", "", ""),
        ('{{"log":"[    1.000001] {}","_HOSTNAME":"h"}}', "h", ""),
        ('{{"_HOSTNAME":"h","MESSAGE":"[    1.000001] {}","cut":', "", ""),
    ],
)
def test_who_sent_a_line(line: str, host: str, file: str) -> None:
    (found,) = entries(line.format(TEXT).encode())
    assert (found.host, found.file, found.stamp.boot_ns) == (host, file, SECOND)
    assert found.message == trap(SPLIT, "CPU 1/KVM", 65886, 0x7C40)


def test_several_messages_in_one_record() -> None:
    batch = json.dumps({"events": [{"timestamp": 1767225600123, "message": TEXT}] * 2})
    assert [each.stamp.wall_ns for each in entries(batch.encode())] == [1767225600123000000] * 2
    lines = json.dumps({"message": f"[ 1.0] {TEXT}\n[ 2.0] {TEXT}", "event": {"original": TEXT}})
    assert [each.stamp.boot_ns for each in entries(lines.encode())] == [10**9, 2 * 10**9]


def test_repeats_of_the_line_before() -> None:
    (found,) = entries(
        f"Mar 26 11:13:52 h kernel: {TEXT}\nMar 26 11:13:59 h last message repeated 4 times\n".encode()
    )
    assert found.count == 5


@pytest.mark.parametrize(("mark", "boot"), [("-- Reboot --", ""), (f"-- Boot {'a' * 32} --", "a" * 32)])
def test_lines_of_journalctl_between_boots(mark: str, boot: str) -> None:
    line = f"Mar 26 11:13:52 h kernel: {TEXT}\n"
    found = survey(f"{line}{mark}\n{line}".encode())
    assert [(each.boot, each.lines) for each in found.traps()] == [(0, 1), (1, 1)]
    assert found.boots[1].id == boot
