"""Signals of the threads of a monitor: which may be a kick, what is blocked where, what ends a run."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Python's handlers: what signal.signal() takes and gives back.
_Handler = Callable[[int, FrameType | None], None]

# What ends a run early: Ctrl-C, a service manager, a terminal that has gone.
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})

# What faults make. A forced signal that finds itself blocked kills (force_sig_info_to_task, kernel/signal.c).
_FAULTS = frozenset(
    {signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP}
)

_LONGEST_WAIT_S = 0.1

# The signals that may be a kick, by number; the C library keeps 32 and 33 for itself.
KICKS = frozenset(signal.valid_signals()) - ENDING - _FAULTS - {signal.SIGKILL, signal.SIGSTOP}


def block_all() -> None:
    """Blocks in the calling thread, and in threads that it starts, whatever may be blocked but faults."""
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - _FAULTS)


def open_only(signo: int) -> int:
    """The mask for KVM_RUN in which, but for faults, only `signo` is open: bit n - 1 stands for signal n."""
    return sum(1 << (number - 1) for number in signal.valid_signals() - _FAULTS - {signo})


def ignore(signum: int, frame: FrameType | None) -> None:
    """A handler that does nothing: unlike SIG_IGN it lets the signal interrupt what the thread does."""


def install(handler: _Handler | signal.Handlers, *numbers: int) -> list[tuple[int, Any]]:
    """Calls `handler` for these signals from now on; gives (number, handler) of before.

    An ignored SIGHUP stays ignored, which is what nohup(1) is for. Only in the main thread, as
    signal.signal() says.
    """
    ours = [n for n in numbers if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    return [(number, signal.signal(number, handler)) for number in ours]


@contextmanager
def handled(handler: _Handler, *numbers: int) -> Iterator[None]:
    """Calls `handler` for these signals meanwhile, as install() does."""
    before = install(handler, *numbers)
    try:
        yield
    finally:
        for number, previous in before:
            # None: a handler that was not installed by Python cannot be put back by it.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)


def wait(event: threading.Event, duration_ns: int) -> None:
    """Waits in the main thread until the event is set, by a signal handler for example, or the time is over.

    In short waits: a signal that comes right before the thread goes to sleep does not wake it, and CPython
    calls the handler when it wakes up.
    """
    end = time.monotonic() + duration_ns / 1e9
    while not event.is_set() and (left := end - time.monotonic()) > 0:
        event.wait(min(left, _LONGEST_WAIT_S))
