"""The C library's calls that a vCPU thread makes, bound once for the run loop."""

import ctypes
import errno
import os

from sldtrace.errors import SldtraceError

CLOCK_MONOTONIC = 1  # include/uapi/linux/time.h
SIGEV_THREAD_ID = 4  # include/uapi/asm-generic/siginfo.h


class Timespec(ctypes.Structure):
    """struct timespec: seconds and nanoseconds."""

    _fields_ = [("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long)]

    @classmethod
    def of(cls, ns: int) -> "Timespec":
        """The same time as `ns` nanoseconds."""
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


_libc = ctypes.CDLL(None, use_errno=True)

ioctl = _libc.ioctl
# Really variadic, but the ABI of x86-64 passes these three arguments in the same registers.
ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]

sigtimedwait = _libc.sigtimedwait
sigtimedwait.argtypes = [ctypes.POINTER(Sigset), ctypes.c_void_p, ctypes.POINTER(Timespec)]

# Before glibc 2.34 the timers live in librt.
_timers = _libc if hasattr(_libc, "timer_create") else ctypes.CDLL("librt.so.1", use_errno=True)

timer_create = _timers.timer_create
timer_create.argtypes = [ctypes.c_int, ctypes.POINTER(Sigevent), ctypes.POINTER(ctypes.c_void_p)]

timer_settime = _timers.timer_settime
timer_settime.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(Itimerspec), ctypes.c_void_p]

timer_delete = _timers.timer_delete
timer_delete.argtypes = [ctypes.c_void_p]


def failure(call: str, hint: str | None = None, number: int | None = None) -> SldtraceError:
    """The error to raise after `call` returned -1: names the call and the error (`number`, else errno)."""
    if number is None:
        number = ctypes.get_errno()
    name = errno.errorcode.get(number, str(number))
    return SldtraceError(f"{call} failed: {os.strerror(number)} ({name})", hint)
