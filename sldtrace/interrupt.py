"""Ctrl-C while there is nothing to tidy up."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deadly() -> Iterator[None]:
    """Ctrl-C ends the process at once meanwhile, by the signal itself. For imports.

    A KeyboardInterrupt in the middle of one is a traceback, or is lost in a callback of the import system.
    Does nothing where SIGINT is ignored, where somebody has a handler for it, and in other threads.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
