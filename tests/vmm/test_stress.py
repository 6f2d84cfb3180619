"""Moving threads, and the check of where they are; what kicks which plan."""

import ctypes
import os
import threading
import time

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.vmm import abi, guests, libc, stress
from sldtrace.vmm.kicks import IntervalTimer, Kind, Sender
from sldtrace.vmm.plan import Plan
from tests.waiting import HANG_S

CPUS = tuple(sorted(os.sched_getaffinity(0)))


def test_threads_go_round_and_are_where_it_says() -> None:
    if len(CPUS) < 2:
        pytest.skip("one CPU only")
    before = os.sched_getaffinity(0)
    try:
        migration = stress.Migration([0, 0], CPUS)  # TID 0 is the calling thread, here for both
        for _ in range(4):
            migration.step()
            assert os.sched_getaffinity(0) == {migration.cpu(1)}
            assert migration.cpu(0) != migration.cpu(1)
            assert libc.sched_getcpu() == migration.cpu(1)
        assert (migration.moves, migration.sequence) == (4, 8)
    finally:
        os.sched_setaffinity(0, before)


class Where:
    """A migration that says what the test wants."""

    sequence, moves, expected = 2, 1, 0

    def cpu(self, thread: int) -> int:
        return self.expected


@pytest.mark.parametrize(
    ("expected", "rseq", "counted"),
    [(3, 3, (1, 0)), (2, 3, (1, 1)), (3, 2, (1, 1)), (3, None, (1, 0)), (2, None, (1, 1))],
)
def test_a_cpu_that_is_not_the_threads_is_counted(
    monkeypatch: pytest.MonkeyPatch, expected: int, rseq: int | None, counted: tuple[int, int]
) -> None:
    area = None if rseq is None else ctypes.c_uint32(rseq)
    monkeypatch.setattr(libc, "rseq_cpu", lambda: area)
    monkeypatch.setattr(libc, "sched_getcpu", lambda: 3)
    where = Where()
    where.expected = expected
    watch = stress.CpuWatch(where, 0)  # type: ignore[arg-type]
    watch.look()
    assert (watch.checks, watch.mismatches) == counted


def test_nothing_is_checked_while_threads_are_being_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    where = Where()
    watch = stress.CpuWatch(where, 0)  # type: ignore[arg-type]
    where.sequence = 3
    watch.look()

    def moved() -> int:
        where.sequence += 2
        return 99

    where.sequence = 4
    monkeypatch.setattr(libc, "sched_getcpu", moved)
    watch.look()
    assert (watch.checks, watch.mismatches, watch.retries) == (0, 0, 200)


def test_a_check_is_repeated_until_the_move_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    where = Where()
    where.sequence, where.expected = 3, 7
    monkeypatch.setattr(libc, "rseq_cpu", lambda: None)
    monkeypatch.setattr(libc, "sched_getcpu", lambda: 7)
    watch = stress.CpuWatch(where, 0)  # type: ignore[arg-type]

    def move_on(_: float) -> None:
        where.sequence += 1

    monkeypatch.setattr(time, "sleep", move_on)
    watch.look()
    assert (watch.checks, watch.mismatches, watch.retries) == (1, 0, 1)


def test_a_cpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(SldtraceError, match="sched_setaffinity failed"):
        stress.Migration([0], (4000, 4001)).step()


@pytest.mark.parametrize("pause_ns", [0, 1_000])
def test_a_worker_with_hardly_a_pause(pause_ns: int) -> None:
    steps, enough = [], threading.Event()

    def step() -> None:
        steps.append(1)
        if len(steps) == 100:
            enough.set()

    worker = stress.Worker("w", pause_ns, step, lambda _: None)
    worker.start()
    assert enough.wait(HANG_S)
    worker.stop()


def test_rseq_knows_the_cpu() -> None:
    area = libc.rseq_cpu()
    if area is None:
        pytest.skip("this C library registers no rseq")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {CPUS[-1]})
        assert area.value == CPUS[-1]
    finally:
        os.sched_setaffinity(0, before)


def test_a_worker_that_fails_says_so_and_ends() -> None:
    failures: list[BaseException] = []
    failed = threading.Event()

    def step() -> None:
        raise OSError("offline")

    def note(error: BaseException) -> None:
        failures.append(error)
        failed.set()

    worker = stress.Worker("w", 1000, step, note)
    worker.start()
    assert failed.wait(HANG_S)
    worker.stop()
    assert [str(error) for error in failures] == ["offline"]


@pytest.mark.parametrize(
    ("kick", "timeout_ns", "made"),
    [
        (Kind.TIMER, 1, None),
        (Kind.ITIMER, 1, IntervalTimer),
        (Kind.TGKILL, 1, Sender),
        (Kind.IMMEDIATE_EXIT, 1, Sender),
        (Kind.TGKILL, 0, None),
    ],
)
def test_which_source_a_plan_needs(kick: Kind, timeout_ns: int, made: type | None) -> None:
    plan = Plan(guests.load("split-bts"), 1, timeout_ns, kick)
    assert [type(one) for one in stress.kicks(plan, [1], [abi.Run()])] == ([made] if made else [])
