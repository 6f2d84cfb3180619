"""The C library's calls that a vCPU thread makes, bound once for the run loop."""

import ctypes
import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from sldtrace.errors import SldtraceError

CLOCK_MONOTONIC = 1  # include/uapi/linux/time.h
SIGEV_THREAD_ID = 4  # include/uapi/asm-generic/siginfo.h


class Timespec(ctypes.Structure):
    """struct timespec: seconds and nanoseconds."""

    _fields_ = [("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long)]

    @classmethod
    def from_ns(cls, ns: int) -> "Timespec":
        """The time of `ns` nanoseconds."""
        return cls(*divmod(ns, 1_000_000_000))


class Itimerspec(ctypes.Structure):
    """struct itimerspec: interval 0 means one shot."""

    _fields_ = [("it_interval", Timespec), ("it_value", Timespec)]


class Sigevent(ctypes.Structure):
    """struct sigevent for SIGEV_THREAD_ID (include/uapi/asm-generic/siginfo.h), 64 bytes."""

    _fields_ = [
        ("sigev_value", ctypes.c_void_p),
        ("sigev_signo", ctypes.c_int),
        ("sigev_notify", ctypes.c_int),
        ("sigev_tid", ctypes.c_int),
        ("padding", ctypes.c_int * 11),
    ]


# sigset_t of the C library is larger than the kernel's 64 bits (glibc, musl: 1024 bits).
Sigset = ctypes.c_uint64 * 16


def sigset(number: int) -> "ctypes.Array[ctypes.c_uint64]":
    """A sigset_t with the one signal `number` (1 to 64) in it."""
    return Sigset(1 << (number - 1))


# Before glibc 2.34 the timers are not in libc but in librt, through which libc's names are found as well.
_LIBRARY = None if hasattr(ctypes.CDLL(None), "timer_create") else "librt.so.1"
_libc = ctypes.CDLL(_LIBRARY, use_errno=True)
_libc_quick = ctypes.PyDLL(_LIBRARY)

ioctl = _libc.ioctl
# It is variadic, but the ABI of x86-64 passes these three arguments in the same registers.
ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]

timer_create = _libc.timer_create
timer_create.argtypes = [ctypes.c_int, ctypes.POINTER(Sigevent), ctypes.POINTER(ctypes.c_void_p)]

timer_settime = _libc.timer_settime
timer_settime.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(Itimerspec), ctypes.c_void_p]

timer_delete = _libc.timer_delete
timer_delete.argtypes = [ctypes.c_void_p]

prctl = _libc.prctl
prctl.argtypes = [ctypes.c_int, ctypes.c_ulong]

PR_SET_PDEATHSIG, PR_SET_TIMERSLACK = 1, 29  # include/uapi/linux/prctl.h


# Gives the CPU that the calling thread is on; takes it from the kernel, by the vDSO.
sched_getcpu = _libc_quick.sched_getcpu


def rseq_cpu() -> ctypes.c_uint32 | None:
    """The calling thread's rseq.cpu_id, which the kernel keeps; None where the C library registers no rseq.

    glibc since 2.35 registers one for each thread, __rseq_offset bytes from the thread pointer (manual,
    "Restartable Sequences"); on x86-64 pthread_self() is the thread pointer. Only for the calling thread,
    while it lives.
    """
    try:
        offset = ctypes.c_ssize_t.in_dll(_libc, "__rseq_offset").value
        if not ctypes.c_uint.in_dll(_libc, "__rseq_size").value:
            return None
    except ValueError:
        return None
    pthread_self = _libc_quick.pthread_self
    pthread_self.restype = ctypes.c_size_t
    # struct rseq (include/uapi/linux/rseq.h): cpu_id_start, cpu_id
    return ctypes.c_uint32.from_address(pthread_self() + offset + 4)


# Calls for the run loop. Without argtypes and, where it is not used, without a result, a call by ctypes takes
# half of the instructions. An int is then passed as C int, None as a null pointer, byref() of an
# object as its address: no object is made for them. Anything else must be a ctypes object of its C type.


def releasing_gil(name: str, *arguments: Any) -> Callable[[], int]:
    """The C function `name` with fixed arguments: may block (without the GIL), returns an int."""
    return partial(_libc[name], *arguments)


def holding_gil(name: str, *arguments: Any) -> Callable[[], None]:
    """The C function `name` with fixed arguments: must not block (it holds the GIL), returns nothing."""
    function = _libc_quick[name]
    function.restype = None
    return partial(function, *arguments)


def moving(tid: int, cpu: int) -> Callable[[], int]:
    """sched_setaffinity(2) of that thread to one CPU, as `releasing_gil` has it."""
    size = 8 * (cpu // 64 + 1)
    mask = (ctypes.c_ubyte * size).from_buffer_copy((1 << cpu).to_bytes(size, "little"))
    return releasing_gil("sched_setaffinity", tid, ctypes.c_size_t(size), mask)


def failure(call: str, hint: str | None = None, number: int | None = None) -> SldtraceError:
    """The error to raise after `call` returned -1: names the call and the error (`number`, else errno)."""
    if number is None:
        number = ctypes.get_errno()
    name = errno.errorcode.get(number, str(number))
    return SldtraceError(f"{call} failed: {os.strerror(number)} ({name})", hint)
