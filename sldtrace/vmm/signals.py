"""The signals of a thread that runs a vCPU: the kick blocked outside KVM_RUN, SIGBUS and Ctrl-C noticed."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Python's handlers: what signal.signal() takes and gives back.
_Handler = Callable[[int, FrameType | None], None]


@contextmanager
def blocked(signo: int) -> Iterator[int]:
    """Blocks `signo` in the calling thread; gives the mask for KVM_RUN, in which it is open.

    The mask is in the form of the kernel's sigset_t: bit n - 1 stands for signal n. SIGBUS is open in
    both: a forced signal that finds itself blocked kills (force_sig_info_to_task, kernel/signal.c).
    At the end the thread's mask is as before; nobody may send `signo` any more.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signo})
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGBUS})
        yield sum(1 << (number - 1) for number in before - {signo, signal.SIGBUS})
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def handled(handler: _Handler, *numbers: signal.Signals) -> Iterator[None]:
    """Calls `handler` for these signals meanwhile. Only in the main thread, as signal.signal() says."""
    before = [(number, signal.signal(number, handler)) for number in numbers]
    try:
        yield
    finally:
        for number, previous in before:
            # None: a handler that was not installed by Python cannot be put back by it.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
