"""Ctrl-C: an exception where there is something to clean up, elsewhere the default action of SIGINT."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def handled() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt inside, where `sldtrace.__main__` has given it its default action."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        # Nothing is left to clean up, and Ctrl-C while the interpreter ends would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def default_sigint() -> Iterator[None]:
    """SIGINT has its default action (SIG_DFL) inside: Ctrl-C ends the process. For imports.

    A KeyboardInterrupt in an import prints a traceback, or is lost in a callback of the import system.
    Changes nothing where SIGINT is ignored, where a program has installed a handler, and in other threads.
    """
    unchanged = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not unchanged or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
