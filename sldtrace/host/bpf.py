"""Checks whether the kernel loads tracing programs: loads the smallest one, and removes it at once."""

import ctypes
import os
from pathlib import Path

from sldtrace.host.libc import libc

# arch/x86/entry/syscalls/syscall_64.tbl; include/uapi/linux/bpf.h
_SYS_BPF = 321
_PROG_LOAD = 5
_TRACEPOINT = 5
# r0 = 0; exit
_PROGRAM = bytes.fromhex("b7000000000000009500000000000000")


class _ProgramLoad(ctypes.Structure):
    # The beginning of union bpf_attr for BPF_PROG_LOAD; for the kernel the rest is zero.
    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
    )


def refusal() -> OSError | None:
    """The error (EPERM, ENOSYS …) if the kernel refuses a tracing program of this process; None if not.

    Covers what is in no file: seccomp filters, security modules, containers.
    """
    code = ctypes.create_string_buffer(_PROGRAM, len(_PROGRAM))
    words = ctypes.create_string_buffer(b"GPL")
    request = _ProgramLoad(
        prog_type=_TRACEPOINT,
        insn_cnt=len(_PROGRAM) // 8,
        insns=ctypes.addressof(code),
        license=ctypes.addressof(words),
    )
    number = libc.syscall(
        ctypes.c_long(_SYS_BPF),
        ctypes.c_int(_PROG_LOAD),
        ctypes.byref(request),
        ctypes.c_uint(ctypes.sizeof(request)),
    )
    if number < 0:
        error = ctypes.get_errno()
        return OSError(error, os.strerror(error))
    os.close(number)
    return None


def unprivileged(path: Path = Path("/proc/sys/kernel/unprivileged_bpf_disabled")) -> int | None:
    """kernel.unprivileged_bpf_disabled (0, 1, 2); None without CONFIG_BPF_SYSCALL."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
