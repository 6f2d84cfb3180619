"""Sets kernel.split_lock_mitigate for the time of a block, and restores it even if this process is killed."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sldtrace.errors import SldtraceError
from sldtrace.host import split_lock
from sldtrace.vmm.forked import fork

_log = logging.getLogger(__name__)


@contextmanager
def set_for_block(value: int | None, path: Path = split_lock.MITIGATE) -> Iterator[None]:
    """Sets the sysctl to this value inside the block; None: does not change it.

    Another process restores it when this process and those that it forks have closed a pipe, and so also when
    this process is killed. Raises SldtraceError if the value cannot be set or restored.
    """
    if value is None:
        yield
        return
    before = _read(path)
    theirs, ours = os.pipe()
    keeper = 0
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        try:
            keeper = fork(lambda: _restore(theirs, ours, path, before), "the sysctl", outlives=True)
            os.setpgid(keeper, keeper)  # out of reach of kill(2) by process group
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        _set(path, f"{value}\n")
        _log.info("kernel.split_lock_mitigate: %d, was %s", value, before.strip())
        yield
    finally:
        os.close(ours)
        os.close(theirs)
        failed = keeper and os.waitpid(keeper, 0)[1] != 0
    if failed:
        raise SldtraceError(
            "kernel.split_lock_mitigate could not be restored",
            f"restore it: sysctl kernel.split_lock_mitigate={before.strip()}",
        )


def _restore(theirs: int, ours: int, path: Path, before: str) -> None:
    # All signals are blocked, so that Ctrl-C or a closed terminal does not end it early. It keeps no pipe
    # open.
    os.close(ours)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.read(theirs, 1)
    if path.read_text() != before:
        path.write_text(before)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise SldtraceError(
            "this kernel has no kernel.split_lock_mitigate (before Linux 6.2)", "leave out --mitigate"
        ) from error
    except OSError as error:
        raise _refused(error) from error


def _set(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise _refused(error) from error


def _refused(error: OSError) -> SldtraceError:
    return SldtraceError(
        f"kernel.split_lock_mitigate cannot be set: {error.strerror}", "run as root, or leave out --mitigate"
    )
