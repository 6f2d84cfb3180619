"""Makes the recorder give way to vCPUs: whoever wakes up on its CPU runs at once."""

import contextlib
import ctypes
import os
import struct
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# arch/x86/entry/syscalls/syscall_64.tbl; include/uapi/linux/sched/types.h, struct sched_attr as of version 0
_SCHED_SETATTR = 314
_SCHED_GETATTR = 315
_ATTRIBUTES = struct.Struct("<IIQiIQQQ")

TURN_NS = 100_000
"""The shortest time slice that the kernel takes (kernel/sched/syscalls.c); its own are 0.7 ms and more."""

NICE = 10
"""The least niceness: a tenth of a CPU that somebody else wants wholly."""

_AUTOGROUP = Path("/proc/self/autogroup")


def give_way() -> None:
    """Makes this process nice, and its time slices TURN_NS; what is nicer already, or not SCHED_OTHER, stays.

    A punished vCPU that wakes up on the recorder's CPU and does not get it at once is late for its next trap,
    and a livelock looks milder. Of the runnable the one with the earliest deadline is next, and a deadline is
    the farther the nicer the task (EEVDF, 147f3efaa241); but until its slice is used up the running one stays
    (RUN_TO_PARITY, 63304558ba5d), so slices must be short. They can be asked for since 6.12 (857b158dc5e8);
    older kernels take no notice. Between sessions the niceness of the session counts (autogroup,
    5091faa449ee): it is set where this process leads one, as a service does.
    """
    attributes = _get()
    if attributes is None:
        return
    size, policy, flags, nice, priority, _, deadline, period = attributes
    if nice < NICE:
        # Refused where a sandbox does.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
        if os.getsid(0) == os.getpid():
            # Not there where the kernel was built without, or has it switched off.
            with contextlib.suppress(OSError):
                _AUTOGROUP.write_text(f"{NICE}")
    request = _ATTRIBUTES.pack(size, policy, flags, max(nice, NICE), priority, TURN_NS, deadline, period)
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
