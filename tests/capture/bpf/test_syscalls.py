"""The system calls: their numbers and layouts against the kernel's headers, their errors as OSError."""

import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sldtrace.capture.bpf import syscalls
from sldtrace.capture.bpf.syscalls import Runs

NONE = 1 << 30  # no descriptor
HEADERS = """
#include <stddef.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
int main(void)
{
"""
# Names of syscalls.py, and what the kernel calls them.
SAME = {
    "_BPF": "SYS_bpf",
    "_PERF_EVENT_OPEN": "SYS_perf_event_open",
    "_MAP_UPDATE_ELEM": "BPF_MAP_UPDATE_ELEM",
    "_OBJ_GET_INFO_BY_FD": "BPF_OBJ_GET_INFO_BY_FD",
    "_RAW_TRACEPOINT_OPEN": "BPF_RAW_TRACEPOINT_OPEN",
    "_ENABLE_STATS": "BPF_ENABLE_STATS",
    "_TYPE_TRACEPOINT": "PERF_TYPE_TRACEPOINT",
    "_FLAG_FD_CLOEXEC": "PERF_FLAG_FD_CLOEXEC",
    "_IOC_ENABLE": "PERF_EVENT_IOC_ENABLE",
    "_IOC_SET_BPF": "PERF_EVENT_IOC_SET_BPF",
    "_ATTR_BYTES": "PERF_ATTR_SIZE_VER5",
    "_RUN_TIME_NS": "offsetof(struct bpf_prog_info, run_time_ns)",
    "_RECURSION_MISSES": "offsetof(struct bpf_prog_info, recursion_misses)",
}
OFFSETS = {
    "offsetof(struct perf_event_attr, size)": 4,
    "offsetof(struct perf_event_attr, config)": 8,
    "offsetof(struct perf_event_attr, kprobe_func)": 56,
    "offsetof(union bpf_attr, raw_tracepoint.prog_fd)": 8,
    "offsetof(union bpf_attr, key)": 8,
    "offsetof(union bpf_attr, value)": 16,
    "offsetof(union bpf_attr, info.info_len)": 4,
    "offsetof(union bpf_attr, info.info)": 8,
    "BPF_STATS_RUN_TIME": 0,
}


@pytest.mark.skipif(shutil.which("gcc") is None or os.uname().machine != "x86_64", reason="needs gcc on x86")
def test_numbers_and_layouts_are_those_of_the_kernels_headers(tmp_path: Path) -> None:
    expected = {name: getattr(syscalls, own) for own, name in SAME.items()} | OFFSETS
    lines = "".join(f'printf("%lld\\n", (long long)({name}));\n' for name in expected)
    (tmp_path / "numbers.c").write_text(f"{HEADERS}{lines}return 0;\n}}\n")
    built = subprocess.run(
        ["gcc", "numbers.c", "-o", "numbers"], cwd=tmp_path, capture_output=True, text=True
    )
    if "linux/bpf.h" in built.stderr:
        pytest.skip("the kernel's headers for user space are not installed")
    assert built.returncode == 0, built.stderr
    printed = subprocess.run([tmp_path / "numbers"], check=True, capture_output=True, text=True).stdout
    assert dict(zip(expected, map(int, printed.split()), strict=True)) == expected


class FakeLibc:
    """The C library: notes each system call with the bytes of its attributes, and answers `result`."""

    def __init__(self, result: int) -> None:
        self.result = result
        self.calls: list[tuple[int, bytes]] = []
        self.arguments: list[tuple[int, ...]] = []
        self.pointed: list[bytes] = []

    def syscall(self, number: int, *arguments: object) -> int:
        (buffer,) = (each for each in arguments if isinstance(each, ctypes.Array))
        self.calls.append((number, buffer.raw))
        self.arguments.append(tuple(each for each in arguments if isinstance(each, int)))
        for at in (0, 8, 16, 56):
            address = int.from_bytes(buffer.raw[at : at + 8], "little")
            self.pointed.append(ctypes.string_at(address) if address >> 40 else b"")
        if self.result < 0:
            ctypes.set_errno(errno.EBUSY)
        return self.result


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> FakeLibc:
    fake = FakeLibc(42)
    monkeypatch.setattr(syscalls, "libc", fake)
    return fake


def test_a_raw_tracepoint_is_named_and_fentry_is_not(libc: FakeLibc) -> None:
    assert syscalls.attach_traced(7, "kvm_entry") == 42
    assert libc.pointed[0] == b"kvm_entry"
    assert struct.unpack("<II", libc.calls[0][1][8:16]) == (7, 0)
    syscalls.attach_traced(8)
    assert struct.unpack("<QII", libc.calls[1][1]) == (0, 8, 0)


def test_a_map_is_updated_with_copies_of_key_and_value(libc: FakeLibc) -> None:
    syscalls.map_update(7, b"key", b"value")
    given = libc.calls[0][1]
    assert (struct.unpack("<II", given[:8]), struct.unpack("<Q", given[24:32])) == ((7, 0), (0,))  # no flags
    assert libc.pointed[1:3] == [b"key", b"value"]
    syscalls.map_push(9, b"pushed")
    assert struct.unpack("<IIQ", libc.calls[1][1][:16]) == (9, 0, 0)  # a stack has no keys
    assert libc.pointed[6] == b"pushed"
    assert [arguments[0] for arguments in libc.arguments] == [2, 2]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, libc: FakeLibc) -> list[tuple[int, ...]]:
    """The ioctls on a perf event, and a kernel with the kprobe PMU whose first CPU is off."""
    calls: list[tuple[int, ...]] = []
    monkeypatch.setattr(fcntl, "ioctl", lambda *arguments: calls.append(arguments))
    (tmp_path / "format").mkdir()
    (tmp_path / "type").write_text("8\n")
    (tmp_path / "format" / "retprobe").write_text("config:0\n")
    (tmp_path / "online").write_text("2-3,5\n")
    monkeypatch.setattr(syscalls, "_KPROBE", tmp_path)
    monkeypatch.setattr(syscalls, "_ONLINE", tmp_path / "online")
    return calls


def test_a_tracepoint_by_its_id_on_a_cpu_that_is_there(libc: FakeLibc, events: list[tuple[int, ...]]) -> None:
    assert syscalls.attach_tracepoint(7, 307) == 42
    (call,) = libc.calls
    assert call[0] == 298
    assert struct.unpack("<IIQ", call[1][:16]) == (2, 112, 307)
    assert libc.arguments == [(-1, 2, -1, 8)]
    assert events == [(42, 0x40042408, 7), (42, 0x2400, 0)]


@pytest.mark.parametrize("at_return", [False, True])
def test_a_kprobe_by_name_at_either_end(
    at_return: bool, libc: FakeLibc, events: list[tuple[int, ...]]
) -> None:
    assert syscalls.attach_kprobe(7, "split_lock_warn", at_return) == 42
    assert struct.unpack("<IIQ", libc.calls[0][1][:16]) == (8, 112, int(at_return))
    assert libc.pointed[3] == b"split_lock_warn"
    assert len(events) == 2


def test_an_event_that_takes_no_program_is_closed(
    libc: FakeLibc, events: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EEXIST, "File exists")

    libc.result = os.memfd_create("event")
    monkeypatch.setattr(fcntl, "ioctl", refuse)
    with pytest.raises(FileExistsError):
        syscalls.attach_tracepoint(7, 307)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(libc.result)


CALLS: dict[str, Callable[[], object]] = {
    "attach_traced": lambda: syscalls.attach_traced(NONE),
    "attach_raw": lambda: syscalls.attach_traced(NONE, "kvm_entry"),
    "attach_tracepoint": lambda: syscalls.attach_tracepoint(NONE, 1),
    "attach_kprobe": lambda: syscalls.attach_kprobe(NONE, "f", False),
    "enable_stats": syscalls.enable_stats,
    "map_update": lambda: syscalls.map_update(NONE, b"a", b"b"),
    "map_push": lambda: syscalls.map_push(NONE, b"a"),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_error_is_an_oserror(name: str, libc: FakeLibc, events: list[tuple[int, ...]]) -> None:
    libc.result = -1
    with pytest.raises(OSError, match="Device or resource busy") as caught:
        CALLS[name]()
    assert caught.value.errno == errno.EBUSY


def test_the_real_kernel_refuses_what_is_no_map() -> None:
    with pytest.raises(OSError, match=r"Bad file descriptor|not permitted|not implemented"):
        syscalls.map_push(NONE, b"abcd")


def test_runs_that_the_kernel_does_not_tell_are_none(libc: FakeLibc) -> None:
    libc.result = -1
    assert syscalls.program_runs(NONE) == Runs(0, 0)


def test_runs_are_read_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel:
        @staticmethod
        def syscall(number: int, command: int, attributes: "ctypes.Array[ctypes.c_char]", size: int) -> int:
            program, space, address = struct.unpack("<IIQ", attributes.raw[:size])
            assert (number, command, program) == (321, 15, 7)
            info = bytearray(space)
            struct.pack_into("<Q", info, 192, 123_456)
            struct.pack_into("<Q", info, 208, 9)
            ctypes.memmove(address, bytes(info), space)
            return 0

    monkeypatch.setattr(syscalls, "libc", Kernel)
    assert syscalls.program_runs(7) == Runs(123_456, 9)
