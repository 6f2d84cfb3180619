"""The child executes no more than it may, and does not outlive the test."""

import mmap
import os
import signal
import struct
import time
from collections.abc import Iterator
from typing import Literal

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.litmus.plan import MOST_LOCKS, Plan
from sldtrace.litmus.run import End, run

QUICK = Plan(locks=7, spacings_ns=(100_000, 0))


class Counted:
    """Counts what the child executes, in memory that is shared with it."""

    def __init__(self, at_split: int = 0) -> None:
        self.memory = mmap.mmap(-1, mmap.PAGESIZE)
        self.at_split = at_split  # the split lock at which `happen` is called

    def made(self) -> "Counted":
        return self

    def __enter__(self) -> "Counted":
        return self

    def __exit__(self, *_: object) -> Literal[False]:
        return False

    def execute(self, split: bool) -> tuple[int, int]:
        offset = 4 * split
        (count,) = struct.unpack_from("<I", self.memory, offset)
        struct.pack_into("<I", self.memory, offset, count + 1)
        if split and count + 1 == self.at_split:
            self.happen()
        now = time.monotonic_ns()
        return now, now + 10

    def happen(self) -> None:
        raise AssertionError

    @property
    def counts(self) -> tuple[int, ...]:
        """Aligned and split locks."""
        return struct.unpack_from("<2I", self.memory)


@pytest.fixture(autouse=True)
def no_child_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    forked, fork = [], os.fork

    def remembered() -> int:
        pid = fork()
        if pid:
            forked.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", remembered)
    yield
    assert forked
    for pid in forked:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_real_locks_are_measured() -> None:
    outcome = run(QUICK)
    assert outcome.end is End.FINISHED
    assert [len(outcome.durations_ns(split)) for split in (True, False)] == [7, 7]
    assert all(duration > 0 for duration in outcome.durations_ns(True))
    starts = [lock.start_ns for lock in outcome.locks]
    assert starts == sorted(starts)


@pytest.mark.parametrize("locks", [1, 7, MOST_LOCKS])
def test_no_more_locks_than_asked_for(locks: int) -> None:
    lock = Counted()
    outcome = run(Plan(locks=locks, spacings_ns=(0,)), lock.made)
    assert lock.counts == (locks, locks)
    assert len(outcome.durations_ns(True)) == locks


def test_none_begins_after_the_limit() -> None:
    lock = Counted()
    outcome = run(Plan(locks=5, spacings_ns=(2_000_000,), limit_ns=1_000_000), lock.made)
    assert lock.counts[1] == 0
    assert (outcome.end, outcome.durations_ns(True)) == (End.FINISHED, [])


def test_a_bus_error_is_the_kernels_answer() -> None:
    class Fatal(Counted):
        def happen(self) -> None:
            os.kill(os.getpid(), signal.SIGBUS)

    lock = Fatal(at_split=3)
    outcome = run(QUICK, lock.made)
    assert (outcome.end, lock.counts[1]) == (End.KILLED, 3)
    assert len(outcome.durations_ns(True)) == 2


def test_a_lock_that_does_not_complete_is_ended() -> None:
    class Stuck(Counted):
        def happen(self) -> None:
            while True:
                signal.pause()

    lock = Stuck(at_split=2)
    outcome = run(Plan(locks=5, spacings_ns=(0,), stuck_ns=50_000_000, period_ns=1_000_000), lock.made)
    assert (outcome.end, lock.counts[1]) == (End.STUCK, 2)
    assert outcome.stuck_ns >= 50_000_000
    assert len(outcome.durations_ns(True)) == 1


def test_signals_come_while_the_lock_is_executed() -> None:
    class Interrupted(Counted):
        def happen(self) -> None:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the next one ends the child
            while True:
                signal.pause()

    lock = Interrupted(at_split=1)
    with pytest.raises(SldtraceError, match="ended \\(SIGALRM\\)"):
        run(Plan(locks=1, spacings_ns=(0,), period_ns=1_000_000), lock.made)


def test_a_child_that_fails_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    class Failing(Counted):
        def happen(self) -> None:
            raise OSError("no")

    lock = Failing(at_split=2)
    with pytest.raises(SldtraceError, match="ended \\(status 1\\)"):
        run(QUICK, lock.made)
    assert "Traceback" not in capfd.readouterr().err
