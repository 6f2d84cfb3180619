"""What kicks a vCPU thread out of KVM_RUN: so far a one-shot POSIX timer that signals the thread."""

import ctypes
from collections.abc import Callable
from typing import Protocol

from sldtrace.vmm import libc


class KickTimer(Protocol):
    """Sends a signal to one thread, a fixed time after it was armed.

    Both calls stand in the run loop of a vCPU: they must be fast and their results are not looked at.
    """

    @property
    def arm(self) -> Callable[[], None]:
        """Starts the time anew."""

    @property
    def drain(self) -> Callable[[], None]:
        """Takes the signal, which is blocked outside KVM_RUN, if it is pending."""

    def close(self) -> None:
        """Ends the timer and takes its signal if it is pending. May be called twice."""


class PosixTimer:
    """timer_create(2) on CLOCK_MONOTONIC with SIGEV_THREAD_ID, one shot; drained by sigtimedwait(2).

    `timeout_ns` nanoseconds after arm(), thread `tid` of this process gets signal `signo`, which it must
    have blocked. Raises SldtraceError if the kernel refuses the timer.
    """

    def __init__(self, timeout_ns: int, signo: int, tid: int) -> None:
        event = libc.Sigevent(sigev_signo=signo, sigev_notify=libc.SIGEV_THREAD_ID, sigev_tid=tid)
        self._timer: ctypes.c_void_p | None = ctypes.c_void_p()
        if libc.timer_create(libc.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer)):
            raise libc.failure("timer_create", "see RLIMIT_SIGPENDING (ulimit -i)")
        spec = libc.Itimerspec(it_value=libc.Timespec.of(timeout_ns))
        self.arm = libc.quick("timer_settime", self._timer, 0, ctypes.byref(spec), None)
        self.drain = libc.quick(
            "sigtimedwait", ctypes.byref(libc.sigset(signo)), None, ctypes.byref(libc.Timespec())
        )
        # Once with its result looked at; the loop repeats the very same call.
        if libc.timer_settime(self._timer, 0, ctypes.byref(spec), None):
            error = libc.failure("timer_settime")
            self.close()
            raise error

    def close(self) -> None:
        if self._timer is not None:
            libc.timer_delete(self._timer)
            self._timer = None
            self.drain()


class NoTimer:
    """Leaves the guest alone until the run is over: one signal, `duration_ns` after the first arm()."""

    def __init__(self, duration_ns: int, signo: int, tid: int) -> None:
        self._end = PosixTimer(duration_ns, signo, tid)
        self._begun = False
        self.drain = self._end.drain
        self.close = self._end.close

    def arm(self) -> None:
        """Starts the time at the first call; the run's own deadline began before it, so it is over then."""
        if not self._begun:
            self._begun = True
            self._end.arm()
