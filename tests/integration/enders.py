"""What else than the guest's timer may end its penalties, or slow it: a tracer, a freezer, stops, a quota.

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
_QUOTA = Path("/sys/fs/cgroup/quota")
_QUOTA_US, _PERIOD_US = 10_000, 100_000
_BURST_S = 0.3
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
def _beside(act: Callable[[int, int, threading.Event], int | Protocol]) -> Iterator[Protocol]:
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


def trace(_: int, tid: int, ended: threading.Event) -> int:
    """Stops a thread by PTRACE_INTERRUPT every two milliseconds, until `ended`; how often it did."""
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


# SIGUSR1, which ends KVM_RUN, each millisecond for 300 ms.
def _burst(pid: int, tid: int, ended: threading.Event) -> Protocol:
    ended.wait(0.1)
    begin, sent = time.monotonic_ns(), 0
    while time.monotonic_ns() - begin < _BURST_S * 1e9 and not ended.wait(0.001):
        sent += not _libc.syscall(_TGKILL, pid, tid, signal.SIGUSR1)
    return {"sent": sent, "begin_ns": begin, "end_ns": time.monotonic_ns()}


def _stop(pid: int, _: int, ended: threading.Event) -> int:
    stops = 0
    with suppress(ProcessLookupError):
        while not ended.wait(_PERIOD_S):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(_PERIOD_S)
            os.kill(pid, signal.SIGCONT)
            stops += 1
    return stops


# Others have the CPU: what the thread waits for it, by the kernel's account of the thread.
def _starve(pid: int, tid: int, ended: threading.Event) -> int:
    os.setpriority(os.PRIO_PROCESS, tid, 10)
    return _delay_ns(pid, tid, ended)


def _delay_ns(pid: int, tid: int, ended: threading.Event) -> int:
    account = Path(f"/proc/{pid}/task/{tid}/schedstat")
    found = [int(account.read_text().split()[1])]
    with suppress(OSError):
        while not ended.wait(0.02):
            found.append(int(account.read_text().split()[1]))
    return found[-1] - found[0]


def _throttle(pid: int, tid: int, ended: threading.Event) -> Protocol:
    (_QUOTA / "cgroup.procs").write_text(str(pid))
    delay = _delay_ns(pid, tid, ended)
    stat = dict(line.split() for line in (_QUOTA / "cpu.stat").read_text().splitlines())
    return {"delay_ns": delay, "throttled_ns": 1000 * int(stat["throttled_usec"])}


@contextmanager
def traced() -> Iterator[Protocol]:
    """A tracer stops the thread by PTRACE_INTERRUPT every two milliseconds."""
    with _beside(trace) as protocol:
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


@contextmanager
def burst() -> Iterator[Protocol]:
    """For 300 ms a signal ends each sleep."""
    with _beside(_burst) as protocol:
        yield protocol


@contextmanager
def stopped() -> Iterator[Protocol]:
    """The process is stopped by SIGSTOP and continued, two milliseconds apart."""
    with _beside(_stop) as protocol:
        yield protocol


@contextmanager
def starved() -> Iterator[Protocol]:
    """The vCPU's thread has a lower priority than what else runs."""
    with _beside(_starve) as protocol:
        yield protocol


@contextmanager
def throttled() -> Iterator[Protocol]:
    """The process is in a cgroup with a quota of a tenth of a CPU."""
    (_QUOTA.parent / "cgroup.subtree_control").write_text("+cpu")
    _QUOTA.mkdir(exist_ok=True)
    (_QUOTA / "cpu.max").write_text(f"{_QUOTA_US} {_PERIOD_US}")
    try:
        with _beside(_throttle) as protocol:
            yield protocol
    finally:
        with suppress(OSError):
            _QUOTA.rmdir()
