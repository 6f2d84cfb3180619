"""Lowers the recorder's scheduling priority, so that vCPUs that wake up on its CPU run at once."""

import contextlib
import ctypes
import os
import struct
from pathlib import Path

from sldtrace.host.libc import libc

# arch/x86/entry/syscalls/syscall_64.tbl; include/uapi/linux/sched/types.h, struct sched_attr as of version 0
_SCHED_SETATTR = 314
_SCHED_GETATTR = 315
_ATTRIBUTES = struct.Struct("<IIQiIQQQ")

SLICE_NS = 100_000
"""The shortest time slice that the kernel accepts (kernel/sched/syscalls.c); the default is 0.7 ms up."""

NICE = 10
"""The least niceness: about a tenth of a CPU beside a busy task of niceness 0."""

_AUTOGROUP = Path("/proc/self/autogroup")


def lower_priority() -> None:
    """Sets this process to NICE and its time slice to SLICE_NS.

    A process that is nicer already keeps its niceness; one that is not SCHED_OTHER is left unchanged.

    A penalized vCPU that wakes up on the recorder's CPU and has to wait for it is late for its next trap,
    which makes a livelock look milder. EEVDF (147f3efaa241) picks the runnable task with the earliest
    deadline, and a nicer task has a later one. But the running task keeps the CPU until its slice is used up
    (RUN_TO_PARITY, 63304558ba5d), so the slice must be short. A task can request its slice since 6.12
    (857b158dc5e8); older kernels ignore the request. Between sessions the niceness of the session counts
    (autogroup, 5091faa449ee): it is set if this process is a session leader, as a service is.
    """
    attributes = _get()
    if attributes is None:
        return
    size, policy, flags, nice, priority, _, deadline, period = attributes
    if nice < NICE:
        # A sandbox may refuse it.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
        if os.getsid(0) == os.getpid():
            # Missing where the kernel has no autogroups.
            with contextlib.suppress(OSError):
                _AUTOGROUP.write_text(f"{NICE}")
    request = _ATTRIBUTES.pack(size, policy, flags, max(nice, NICE), priority, SLICE_NS, deadline, period)
    libc.syscall(_SCHED_SETATTR, 0, request, 0)


def slice_ns() -> int:
    """The slice that this thread requested, ns; 0 if the kernel does not report it."""
    attributes = _get()
    return attributes[5] if attributes is not None else 0


def _get() -> tuple[int, ...] | None:
    buffer = ctypes.create_string_buffer(_ATTRIBUTES.size)
    if libc.syscall(_SCHED_GETATTR, 0, buffer, _ATTRIBUTES.size, 0) < 0:
        return None
    found: tuple[int, ...] = _ATTRIBUTES.unpack(buffer.raw)
    return found if found[1] == os.SCHED_OTHER else None
