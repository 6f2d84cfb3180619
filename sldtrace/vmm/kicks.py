"""Makes vCPU threads leave KVM_RUN by signals: timers of the kernel, and a thread that sends signals."""

import ctypes
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from sldtrace.strenum import StrEnum
from sldtrace.vmm import abi, libc
from sldtrace.vmm.threads import start_thread


class Kind(StrEnum):
    """How the signal is sent."""

    TIMER = "timer"  # timer_create(2), SIGEV_THREAD_ID: to the vCPU's thread, armed for each KVM_RUN
    ITIMER = "itimer"  # setitimer(2): SIGALRM to the process, periodic
    TGKILL = "tgkill"  # tgkill(2) by another thread, periodic
    IMMEDIATE_EXIT = "immediate-exit"  # kvm_run.immediate_exit = 1, then tgkill; the signal is never blocked

    @property
    def signo(self) -> int:
        """The default signal; setitimer(2) cannot send another one."""
        return int(signal.SIGALRM if self is Kind.ITIMER else signal.SIGUSR1)


class Kick(Protocol):
    """The calls of a vCPU's run loop for its kicks.

    They are made in each iteration: they must be fast, and their results are ignored.
    """

    @property
    def arm(self) -> Callable[[], None]:
        """Before KVM_RUN."""

    @property
    def drain(self) -> Callable[[], None]:
        """After a KVM_RUN that returned EINTR: accepts the pending signal."""

    def close(self) -> None:
        """Stops the kicks, and accepts the signal if it is pending. May be called twice."""


def _nothing() -> None:
    pass


class PosixTimer:
    """timer_create(2) on CLOCK_MONOTONIC with SIGEV_THREAD_ID; drained by sigtimedwait(2).

    `timeout_ns` nanoseconds after arm(), thread `tid` of this process gets signal `signo`, which it must
    have blocked; if `periodic`, repeatedly, from the constructor on. Raises SldtraceError if the kernel
    refuses the timer.
    """

    def __init__(self, timeout_ns: int, signo: int, tid: int, periodic: bool = False) -> None:
        event = libc.Sigevent(sigev_signo=signo, sigev_notify=libc.SIGEV_THREAD_ID, sigev_tid=tid)
        self._timer: ctypes.c_void_p | None = ctypes.c_void_p()
        if libc.timer_create(libc.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer)):
            raise libc.failure("timer_create", "see RLIMIT_SIGPENDING (ulimit -i)")
        spec = libc.Itimerspec(
            libc.Timespec.from_ns(timeout_ns if periodic else 0), libc.Timespec.from_ns(timeout_ns)
        )
        self.arm = libc.holding_gil("timer_settime", self._timer, 0, ctypes.byref(spec), None)
        self.drain = take(signo)
        # Once with its result checked; the loop repeats the same call.
        if libc.timer_settime(self._timer, 0, ctypes.byref(spec), None):
            error = libc.failure("timer_settime")
            self.close()
            raise error

    def close(self) -> None:
        if self._timer is not None:
            libc.timer_delete(self._timer)
            self._timer = None
            self.drain()


class Pending:
    """Signals of another sender, blocked outside KVM_RUN (KVM_SET_SIGNAL_MASK)."""

    arm = staticmethod(_nothing)

    def __init__(self, signo: int) -> None:
        self.drain = take(signo)

    def close(self) -> None:
        self.drain()


class Flag:
    """Signals of another sender, never blocked, whose sender sets kvm_run.immediate_exit.

    VMMs without a signal mask do this: a signal just before KVM_RUN is not lost, because the flag makes
    KVM_RUN return at once (Documentation/virt/kvm/api.rst, 5, immediate_exit).
    """

    arm = staticmethod(_nothing)
    close = staticmethod(_nothing)

    def __init__(self, state: abi.Run) -> None:
        self._state = state

    def drain(self) -> None:
        self._state.immediate_exit = 0


def take(signo: int) -> Callable[[], None]:
    """A call that accepts `signo` if it is pending for the calling thread."""
    return libc.holding_gil(
        "sigtimedwait", ctypes.byref(libc.sigset(signo)), None, ctypes.byref(libc.Timespec())
    )


class Source(Protocol):
    """Something that sends the signal periodically, to all vCPUs of the process."""

    def start(self) -> None:
        """The first signal comes one period later."""

    def stop(self) -> None:
        """No signal is sent afterwards. May be called twice."""


class IntervalTimer:
    """setitimer(2), ITIMER_REAL: SIGALRM to the process; a thread that does not block it gets it."""

    def __init__(self, period_ns: int) -> None:
        self._seconds = period_ns / 1e9

    def start(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._seconds, self._seconds)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Sender:
    """A thread that sends `signo` to each of `threads` (threading.get_ident()) every `period_ns`, by tgkill.

    With `states`, the kvm_run of the vCPUs, immediate_exit is set before.
    """

    def __init__(self, period_ns: int, signo: int, threads: list[int], states: list[abi.Run]) -> None:
        self._period, self._signo = period_ns, signo
        self._threads, self._states = threads, states
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kicks", daemon=True)

    def start(self) -> None:
        start_thread(self._thread)

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        due = time.monotonic_ns() + self._period
        while not self._stop.wait(max(0, due - time.monotonic_ns()) / 1e9):
            for state in self._states:
                state.immediate_exit = 1
            for thread in self._threads:
                with suppress(ProcessLookupError):  # its vCPU has failed
                    signal.pthread_kill(thread, self._signo)
            # On a machine that is too slow for the period, the next one begins now, without a burst.
            due = max(due + self._period, time.monotonic_ns())
