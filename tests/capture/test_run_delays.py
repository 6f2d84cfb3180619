"""Samples of threads that trap: what was added since the last one, for a bounded number of threads."""

import numpy as np
import pytest

from sldtrace.capture import run_delays
from sldtrace.capture.run_delays import RunDelays
from sldtrace.host.schedstat import RunTimes
from tests.analyzers.synthetic import array

Thread = tuple[int, int]


class Kernel:
    """Times of threads: each reading adds 10, 3 and 1 ns."""

    def __init__(self) -> None:
        self.times: dict[Thread, RunTimes] = {}
        self.ended: set[Thread] = set()

    def read(self, tgid: int, tid: int, throttled: dict[str, int]) -> RunTimes | None:
        if (tgid, tid) in self.ended:
            return None
        old = self.times.get((tgid, tid), RunTimes(1000, 500, 7))
        new = RunTimes(old.run_ns + 10, old.delay_ns + 3, old.throttled_ns + 1)
        self.times[tgid, tid] = new
        return new


def of(*threads: Thread, kind: str = "trap") -> np.ndarray:
    return array(kind, [{"tgid": tgid, "tid": tid} for tgid, tid in threads])


def test_from_the_first_sample_to_the_trap() -> None:
    sampled = RunDelays(Kernel().read)
    sampled.started(of((7, 8), kind="task"))
    assert len(sampled.update()) == 0  # no trap yet
    sampled.trapped(of((7, 8), (7, 8)))
    (record,) = sampled.update()
    names = ("tgid", "tid", "run_ns", "run_delay_ns", "throttled_ns")
    assert [int(record[name]) for name in names] == [7, 8, 10, 3, 1]
    assert 0 < record["since_ns"] <= record["ns"]
    assert len(sampled.update()) == 0
    sampled.trapped(of((7, 8)))
    (later,) = sampled.update()
    assert later["since_ns"] == record["ns"]


def test_a_thread_whose_start_was_not_seen_has_a_record_from_its_second_trap_on() -> None:
    sampled = RunDelays(Kernel().read)
    for expected in (0, 1, 1):
        sampled.trapped(of((7, 8)))
        assert len(sampled.update()) == expected


def test_a_thread_that_has_ended_has_none() -> None:
    kernel = Kernel()
    sampled = RunDelays(kernel.read)
    sampled.started(of((7, 8), (7, 9), kind="task"))
    kernel.ended = {(7, 8)}
    sampled.trapped(of((7, 8), (7, 9)))
    assert sampled.update()["tid"].tolist() == [9]


def test_times_that_go_back_are_nothing() -> None:
    """The thread was moved to a cgroup that was throttled less."""
    kernel = Kernel()
    sampled = RunDelays(kernel.read)
    sampled.started(of((7, 8), kind="task"))
    kernel.times[7, 8] = RunTimes(2000, 100, 0)
    sampled.trapped(of((7, 8)))
    (record,) = sampled.update()
    assert (record["run_delay_ns"], record["throttled_ns"]) == (0, 0)


def test_a_tid_that_is_used_again_begins_anew() -> None:
    """The new thread has run for less than the one before it had."""
    kernel = Kernel()
    sampled = RunDelays(kernel.read)
    sampled.started(of((7, 8), kind="task"))
    kernel.times[7, 8] = RunTimes(20, 0, 0)
    sampled.trapped(of((7, 8)))
    assert len(sampled.update()) == 0
    sampled.trapped(of((7, 8)))
    (record,) = sampled.update()
    assert record["run_ns"] == 10


def test_many_threads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_delays, "_MOST", 4)
    monkeypatch.setattr(run_delays, "_MOST_KNOWN", 6)
    sampled = RunDelays(Kernel().read)
    for _ in range(2):
        sampled.trapped(of(*((7, tid) for tid in range(100))))
        found = sampled.update()
    assert found["tid"].tolist() == [0, 1, 2, 3]
    sampled.started(of(*((8, tid) for tid in range(4)), kind="task"))
    assert len(sampled._before) == 6
