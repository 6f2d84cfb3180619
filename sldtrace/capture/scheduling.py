"""Asks the scheduler for short turns, so that a vCPU that wakes up does not wait for the recorder."""

import ctypes
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# arch/x86/entry/syscalls/syscall_64.tbl; include/uapi/linux/sched/types.h, struct sched_attr as of version 0
_SCHED_SETATTR = 314
_SCHED_GETATTR = 315
_ATTRIBUTES = struct.Struct("<IIQiIQQQ")

TURN_NS = 100_000
"""The shortest that the kernel takes (kernel/sched/syscalls.c); its own are 0.7 ms and more."""


def take_short_turns() -> None:
    """Sets the time slice of this thread to TURN_NS; its priority stays.

    Until its slice is used up a running thread is not preempted (RUN_TO_PARITY, 63304558ba5d). A wake-up of
    a punished vCPU that meets the recorder on its CPU would be late by that much, and a livelock look milder.
    The slice can be asked for since 6.12 (857b158dc5e8); older kernels take no notice.
    """
    attributes = _get()
    if attributes is None:
        return
    size, policy, flags, nice, priority, _, deadline, period = attributes
    request = _ATTRIBUTES.pack(size, policy, flags, nice, priority, TURN_NS, deadline, period)
    _libc.syscall(_SCHED_SETATTR, 0, request, 0)


def turn_ns() -> int:
    """The slice that this thread asked for; 0 where the kernel does not tell."""
    attributes = _get()
    return attributes[5] if attributes is not None else 0


def _get() -> tuple[int, ...] | None:
    buffer = ctypes.create_string_buffer(_ATTRIBUTES.size)
    if _libc.syscall(_SCHED_GETATTR, 0, buffer, _ATTRIBUTES.size, 0) < 0:
        return None
    found: tuple[int, ...] = _ATTRIBUTES.unpack(buffer.raw)
    return found if found[1] == os.SCHED_OTHER else None
