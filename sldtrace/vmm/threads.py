"""Starting threads where the host may allow no more of them."""

import threading

from sldtrace.errors import SldtraceError


def start_thread(thread: threading.Thread) -> None:
    """Starts it. Raises SldtraceError where the host allows no more threads."""
    try:
        thread.start()
    except RuntimeError as error:  # "can't start new thread"
        raise SldtraceError(
            f"no thread '{thread.name}' for the guest", "see ulimit -u, and pids.max of the cgroup"
        ) from error
