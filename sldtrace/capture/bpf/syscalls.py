"""System calls that attach loaded BPF programs and read their counters, without bcc."""

import ctypes
import fcntl
import os
import struct
from pathlib import Path
from typing import NamedTuple

from sldtrace.host.libc import check, libc

# arch/x86/entry/syscalls/syscall_64.tbl
_BPF = 321
_PERF_EVENT_OPEN = 298

# include/uapi/linux/bpf.h, enum bpf_cmd
_MAP_UPDATE_ELEM = 2
_OBJ_GET_INFO_BY_FD = 15
_RAW_TRACEPOINT_OPEN = 17
_ENABLE_STATS = 32

# include/uapi/linux/perf_event.h
_TYPE_TRACEPOINT = 2
_FLAG_FD_CLOEXEC = 8
_IOC_ENABLE = 0x2400
_IOC_SET_BPF = 0x40042408
_ATTR_BYTES = 112  # PERF_ATTR_SIZE_VER5

_KPROBE = Path("/sys/bus/event_source/devices/kprobe")
_ONLINE = Path("/sys/devices/system/cpu/online")

# struct bpf_prog_info: the layout is part of the ABI and only grows.
_RUN_TIME_NS = 192
_RECURSION_MISSES = 208
_INFO_BYTES = 224
_INFO_REQUEST = struct.Struct("<IIQ")
_U64 = struct.Struct("<Q")
_info = ctypes.create_string_buffer(_INFO_BYTES)
_attributes = ctypes.create_string_buffer(_INFO_REQUEST.size)


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return check(libc.syscall(_BPF, command, buffer, len(attributes)))


def attach_traced(program: int, name: str | None = None) -> int:
    """Attaches an fentry/fexit program (name: None), or one to the raw tracepoint `name`.

    program: its file descriptor. Returns a file descriptor, which detaches when it is closed. Raises OSError.
    """
    text = ctypes.create_string_buffer(name.encode()) if name is not None else None
    address = ctypes.addressof(text) if text is not None else 0
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("<QII", address, program, 0))


def attach_tracepoint(program: int, identifier: int) -> int:
    """Attaches a program to the tracepoint with that id (tracefs, file `id`); see `attach_traced`."""
    return _attach_event(program, struct.pack("<IIQ", _TYPE_TRACEPOINT, _ATTR_BYTES, identifier))


def attach_kprobe(program: int, function: str, at_return: bool) -> int:
    """Attaches a program to a function of the kernel, at its entry or its return; see `attach_traced`.

    Uses the kprobe PMU (4.17, e12f03d7031a), which leaves nothing in tracefs if the process is killed.
    """
    kind = int((_KPROBE / "type").read_text())
    bit = int((_KPROBE / "format" / "retprobe").read_text().strip().removeprefix("config:"))
    name = ctypes.create_string_buffer(function.encode())
    head = struct.pack("<IIQ", kind, _ATTR_BYTES, int(at_return) << bit)
    # config1 is kprobe_func
    return _attach_event(program, head.ljust(56, b"\0") + struct.pack("<Q", ctypes.addressof(name)))


def _attach_event(program: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, _ATTR_BYTES)
    # The program runs on every CPU: it is attached to the event, not to the counter of this CPU.
    cpu = int(_ONLINE.read_text().replace("-", ",").split(",")[0])
    event = check(libc.syscall(_PERF_EVENT_OPEN, buffer, -1, cpu, -1, _FLAG_FD_CLOEXEC))
    try:
        fcntl.ioctl(event, _IOC_SET_BPF, program)
        fcntl.ioctl(event, _IOC_ENABLE, 0)
    except OSError:
        os.close(event)
        raise
    return event


def enable_stats() -> int:
    """Has the kernel time every BPF program until the returned file descriptor is closed (5.8, d46edd671a14).

    Raises OSError without CAP_SYS_ADMIN.
    """
    return _bpf(_ENABLE_STATS, struct.pack("<I", 0))


class Runs(NamedTuple):
    """ns: time spent in the program while statistics were enabled; skipped: runs that the kernel skipped."""

    ns: int
    skipped: int


def program_runs(program: int) -> Runs:
    """run_time_ns and recursion_misses of a program; zeros where the kernel does not report them.

    recursion_misses: since 5.12, 9ed9e9ba2337.
    """
    # Called once a second for each program, so the buffers are allocated once.
    _INFO_REQUEST.pack_into(_attributes, 0, program, _INFO_BYTES, ctypes.addressof(_info))
    ctypes.memset(_info, 0, _INFO_BYTES)
    if libc.syscall(_BPF, _OBJ_GET_INFO_BY_FD, _attributes, _INFO_REQUEST.size) < 0:
        return Runs(0, 0)
    return Runs(_U64.unpack_from(_info, _RUN_TIME_NS)[0], _U64.unpack_from(_info, _RECURSION_MISSES)[0])


def map_update(table: int, key: bytes, value: bytes) -> None:
    """Sets an entry of a map; raises OSError."""
    held = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(_MAP_UPDATE_ELEM, struct.pack("<IIQQQ", table, 0, *map(ctypes.addressof, held), 0))


def map_push(table: int, value: bytes) -> None:
    """Adds a value to a stack; raises OSError, also where it is full."""
    held = ctypes.create_string_buffer(value, len(value))
    _bpf(_MAP_UPDATE_ELEM, struct.pack("<IIQQQ", table, 0, 0, ctypes.addressof(held), 0))
