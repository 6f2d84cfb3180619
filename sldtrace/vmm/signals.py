"""Signals of a monitor's threads: which may be a kick, which are blocked, which end a run."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# A handler of signal.signal().
_Handler = Callable[[int, FrameType | None], None]

# They end a run early: Ctrl-C, a service manager, a closed terminal.
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})

# Signals of faults. A forced signal that is blocked kills (force_sig_info_to_task, kernel/signal.c).
_FAULTS = frozenset(
    {signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP}
)

_LONGEST_WAIT_S = 0.1

# The signals that may be a kick, by number; the C library keeps 32 and 33 for itself.
KICKS = frozenset(signal.valid_signals()) - ENDING - _FAULTS - {signal.SIGKILL, signal.SIGSTOP}


def block_all() -> None:
    """Blocks all signals except faults in the calling thread and in threads that it starts."""
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - _FAULTS)


def all_but(signo: int) -> int:
    """The mask for KVM_RUN that blocks all signals except `signo` and faults: bit n - 1 is signal n."""
    return sum(1 << (number - 1) for number in signal.valid_signals() - _FAULTS - {signo})


def ignore(signum: int, frame: FrameType | None) -> None:
    """A handler that does nothing: unlike with SIG_IGN, the signal interrupts system calls."""


def install(handler: _Handler | signal.Handlers, *numbers: int) -> list[tuple[int, Any]]:
    """Installs `handler` for these signals; returns the previous (number, handler) pairs.

    An ignored SIGHUP stays ignored, for nohup(1). Only in the main thread, like signal.signal().
    """
    ours = [n for n in numbers if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    return [(number, signal.signal(number, handler)) for number in ours]


@contextmanager
def handled(handler: _Handler, *numbers: int) -> Iterator[None]:
    """Installs `handler` for these signals inside the block, as install() does."""
    before = install(handler, *numbers)
    try:
        yield
    finally:
        for number, previous in before:
            # None: Python cannot restore a handler that it did not install.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)


def wait(event: threading.Event, duration_ns: int) -> None:
    """Waits in the main thread until the event is set, by a signal handler for example, or the time is over.

    In short waits: a signal right before the thread sleeps does not wake it, and CPython calls the handler
    when the thread wakes up.
    """
    end = time.monotonic() + duration_ns / 1e9
    while not event.is_set() and (left := end - time.monotonic()) > 0:
        event.wait(min(left, _LONGEST_WAIT_S))
