"""What else than the guest's timer may end its penalties: a tracer, the cgroup freezer, and blocked signals.

Each is a context manager for a run of `guest run` inside it (findings.PROVOCATIONS), and counts what it does.
"""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.integration.observing import Protocol

_PERIOD_S = 0.002  # less than any penalty's sleep
_CGROUP = Path("/sys/fs/cgroup/frozen")
_PTRACE_CONT, _PTRACE_DETACH, _PTRACE_SEIZE, _PTRACE_INTERRUPT = 7, 17, 0x4206, 0x4207  # linux/ptrace.h
_WALL = 0x4000_0000
_TGKILL = 234
_libc = ctypes.CDLL(None, use_errno=True)
_ptrace = _libc.ptrace
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def children() -> set[int]:
    """The PIDs of the children of this process."""
    found = (each.read_text().split() for each in Path("/proc/self/task").glob("*/children"))
    return {int(pid) for pids in found for pid in pids}


@contextmanager
def _beside(act: Callable[[int, int, threading.Event], int]) -> Iterator[Protocol]:
    """Calls act(PID, TID of its newest thread, ended) for the child that the run makes."""
    before, ended, protocol = children(), threading.Event(), Protocol()

    def watch() -> None:
        while not ended.wait(0.001):
            for pid in children() - before:
                tids = sorted(int(each.name) for each in Path(f"/proc/{pid}/task").iterdir())
                if len(tids) > 1:
                    with suppress(OSError):  # its end
                        protocol["acted"] = act(pid, tids[-1], ended)
                    return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield protocol
    finally:
        ended.set()
        thread.join()


def _trace(_: int, tid: int, ended: threading.Event) -> int:
    stops = 0
    if _ptrace(_PTRACE_SEIZE, tid, None, None):
        raise OSError(ctypes.get_errno(), "PTRACE_SEIZE")
    while not ended.wait(_PERIOD_S) and not _ptrace(_PTRACE_INTERRUPT, tid, None, None):
        _, status = os.waitpid(tid, _WALL)
        if not os.WIFSTOPPED(status):
            break
        stops += 1
        # A stop by a signal: the thread gets that signal.
        number = os.WSTOPSIG(status) if status >> 16 == 0 else 0
        _ptrace(_PTRACE_CONT, tid, None, number)
    return stops


def _freeze(pid: int, _: int, ended: threading.Event) -> int:
    _CGROUP.mkdir(exist_ok=True)
    (_CGROUP / "cgroup.procs").write_text(str(pid))
    freezes = 0
    try:
        while not ended.wait(_PERIOD_S):
            (_CGROUP / "cgroup.freeze").write_text("1")
            deadline = time.monotonic() + 1
            while "frozen 1" not in (_CGROUP / "cgroup.events").read_text() and time.monotonic() < deadline:
                time.sleep(0.0002)
            (_CGROUP / "cgroup.freeze").write_text("0")
            freezes += 1
    finally:
        (_CGROUP / "cgroup.freeze").write_text("0")
    return freezes


def _send(pid: int, tid: int, ended: threading.Event) -> int:
    sent = 0
    while not ended.wait(0.0003):
        sent += not _libc.syscall(_TGKILL, pid, tid, signal.SIGRTMIN + 1)
    return sent


@contextmanager
def traced() -> Iterator[Protocol]:
    """A tracer stops the thread by PTRACE_INTERRUPT every two milliseconds."""
    with _beside(_trace) as protocol:
        yield protocol


@contextmanager
def frozen() -> Iterator[Protocol]:
    """The process is frozen and thawed by its cgroup (v2), two milliseconds apart."""
    try:
        with _beside(_freeze) as protocol:
            yield protocol
    finally:
        with suppress(OSError):
            _CGROUP.rmdir()


@contextmanager
def blocking() -> Iterator[Protocol]:
    """SIGRTMIN+1, which the thread blocks, comes every 0.3 ms."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN + 1})
    try:
        with _beside(_send) as protocol:
            yield protocol
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
