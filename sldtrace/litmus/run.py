"""Runs a plan in a child process, on one CPU: a signal of the kernel can end it, and so can this process."""

import os
import select
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal, NoReturn, Protocol

from sldtrace.errors import SldtraceError
from sldtrace.litmus.code import Lock
from sldtrace.litmus.plan import Plan

# start and end (CLOCK_MONOTONIC), time-stamp counter before and after, split or not.
_RECORD = struct.Struct("<4QB")
_SPIN_NS = 200_000  # the scheduler may wake a thread this much late


class Locks(Protocol):
    """Executes locked instructions; a context manager."""

    def __enter__(self) -> "Locks": ...

    def __exit__(self, *_: object) -> Literal[False]: ...

    def execute(self, split: bool) -> tuple[int, int]:
        """Executes one, of an operand in two cache lines or in one; the counter before and after it."""


class End(Enum):
    """How the child ended."""

    FINISHED = auto()
    KILLED = auto()  # by SIGBUS
    STUCK = auto()  # it was ended in the middle of a split lock


@dataclass(frozen=True)
class Measured:
    """One locked instruction.

    start_ns, end_ns: CLOCK_MONOTONIC around it; ticks: of the time-stamp counter.
    """

    start_ns: int
    end_ns: int
    ticks: int
    split: bool


@dataclass(frozen=True)
class Outcome:
    """What came back from the child.

    locks: in order of time; end: how it ended; tsc_ns: length of a tick of the time-stamp counter, 0 if no
    lock was executed; stuck_ns: how long the last split lock had taken when it was ended.
    """

    locks: list[Measured] = field(default_factory=list)
    end: End = End.FINISHED
    tsc_ns: float = 0.0
    stuck_ns: int = 0

    def durations_ns(self, split: bool) -> list[int]:
        """The length of each lock; the clock around it is too coarse for short ones, so the counter's."""
        return [round(each.ticks * self.tsc_ns) for each in self.locks if each.split == split]


def run(plan: Plan, make: Callable[[], Locks] = Lock) -> Outcome:
    """Executes the plan. Raises SldtraceError as `make` does, or if the child fails."""
    with make():
        pass  # it works; the child makes its own, because a VM belongs to one process
    cpu = min(os.sched_getaffinity(0))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _child(plan, make, cpu, writing)
    os.close(writing)
    try:
        return _watch(plan, child, reading)
    finally:
        os.close(reading)


def _child(plan: Plan, make: Callable[[], Locks], cpu: int, writing: int) -> NoReturn:
    status = 1
    try:
        lock = make()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, signal.SIGINT, signal.SIGTERM})
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGBUS):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, lambda *_: None)
        os.sched_setaffinity(0, {cpu})
        begin = time.monotonic_ns()
        for pause in plan.pauses():
            os.write(writing, _measure(lock, False))
            _sleep(pause)
            if time.monotonic_ns() - begin > plan.limit_ns:
                break
            os.write(writing, b"\0" * _RECORD.size)  # a split lock begins
            if plan.period_ns:
                signal.setitimer(signal.ITIMER_REAL, plan.period_ns / 1e9, plan.period_ns / 1e9)
            done = _measure(lock, True)
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.write(writing, done)
        status = 0
    finally:
        os._exit(status)


def _sleep(ns: int) -> None:
    end = time.monotonic_ns() + ns
    if ns > _SPIN_NS:
        time.sleep((ns - _SPIN_NS) / 1e9)
    while time.monotonic_ns() < end:
        pass


def _measure(lock: Locks, split: bool) -> bytes:
    start = time.monotonic_ns()
    before, after = lock.execute(split)
    return _RECORD.pack(start, time.monotonic_ns(), before, after, split)


def _watch(plan: Plan, child: int, reading: int) -> Outcome:
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    received, begun, stuck = b"", time.monotonic_ns(), 0
    try:
        while True:
            in_lock = _in_lock(received)
            wait = plan.stuck_ns if in_lock else plan.stuck_ns + max(plan.spacings_ns)
            if not poll.poll(wait / 1e6):
                stuck = time.monotonic_ns() - begun
                break
            part = os.read(reading, 1 << 16)
            if not part:
                break
            received += part
            begun = time.monotonic_ns()
    finally:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    records = [_RECORD.unpack(each) for each in _records(received) if any(each)]
    locks = [
        Measured(start, end, after - before, bool(split)) for start, end, before, after, split in records
    ]
    if stuck:
        return Outcome(locks, End.STUCK, _tick(records), stuck)
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    # A child that has written all of it may be killed above before it exits.
    finished = not _in_lock(received) and ended in (0, signal.SIGKILL)
    if ended == signal.SIGBUS:
        return Outcome(locks, End.KILLED, _tick(records))
    if not finished or (os.WIFEXITED(status) and os.WEXITSTATUS(status)):
        how = signal.Signals(ended).name if ended else f"status {os.WEXITSTATUS(status)}"
        raise SldtraceError(
            f"the process that executes the split locks ended ({how})", "see the kernel's log"
        )
    return Outcome(locks, End.FINISHED, _tick(records))


def _records(received: bytes) -> list[bytes]:
    whole = len(received) // _RECORD.size * _RECORD.size
    return [received[at : at + _RECORD.size] for at in range(0, whole, _RECORD.size)]


def _in_lock(received: bytes) -> bool:
    records = _records(received)
    return bool(records) and not any(records[-1])


def _tick(records: list[tuple[int, ...]]) -> float:
    if not records:
        return 0.0
    (start, _, before, _, _), (_, end, _, after, _) = records[0], records[-1]
    return (end - start) / max(after - before, 1)
