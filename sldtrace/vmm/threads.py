"""Starts threads, with an error of one line if the host allows no more."""

import threading

from sldtrace.errors import SldtraceError


def start_thread(thread: threading.Thread) -> None:
    """Starts it. Raises SldtraceError if the host allows no more threads."""
    try:
        thread.start()
    except RuntimeError as error:  # "can't start new thread"
        raise SldtraceError(
            f"no thread '{thread.name}' for the guest", "see ulimit -u, and pids.max of the cgroup"
        ) from error
