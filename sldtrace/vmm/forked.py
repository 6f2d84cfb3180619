"""Forks processes for a run, which never return into the parent's frames, and end with the parent."""

import faulthandler
import os
import resource
import signal
import traceback
from collections.abc import Callable
from typing import NoReturn

from sldtrace.errors import SldtraceError
from sldtrace.vmm import libc


def fork(work: Callable[[], None], what: str, *, outlives: bool = False) -> int:
    """The PID of a child that does `work` and ends, with status 0, or 1 if it raised something.

    It is killed (PR_SET_PDEATHSIG) when this process ends, unless it `outlives` it. Signals that are blocked
    stay so in it. Raises SldtraceError, saying `what` there is no process for, where the host allows none.
    """
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        raise SldtraceError(
            f"no process for {what}: {error.strerror}", "see ulimit -u, and pids.max of the cgroup"
        ) from error
    if pid == 0:
        _child(None if outlives else parent, work)
    return pid


def _child(parent: int | None, work: Callable[[], None]) -> NoReturn:
    # Only the parent executes the rest of the caller's frames.
    status = 1
    try:
        if parent is not None:
            libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # SIGBUS of the fatal mode is expected
        faulthandler.disable()
        if parent in (None, os.getppid()):
            work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
