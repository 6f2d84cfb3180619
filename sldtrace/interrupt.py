"""Ctrl-C with the default action of SIGINT, for the time when there is nothing to clean up."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
