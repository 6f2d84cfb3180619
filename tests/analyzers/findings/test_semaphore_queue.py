"""Queues at the semaphore: each threshold on both sides, the victims and the bound."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace.analyzers.findings import semaphore_queue
from tests.analyzers.shorthands import said
from tests.analyzers.synthetic import MS, TICK, VCPU, completed, trace


def queued(wait_ns: int, count: int = 3, every_ns: int = 40 * MS, **fields: Any) -> list[dict[str, Any]]:
    rows = []
    for index in range(count):
        row = completed(index * every_ns, semaphore_ns=wait_ns, **fields)
        rows.append(row | {"end_ns": row["end_ns"] + wait_ns})
    return rows


@pytest.mark.parametrize(("wait_ns", "found"), [(TICK - 1, 0), (TICK, 1)])
def test_a_wait_of_a_jiffy_is_a_queue(tmp_path: Path, wait_ns: int, found: int) -> None:
    rows = queued(wait_ns) + queued(wait_ns, tid=301, tgid=300, start_cpu=1)
    assert len(semaphore_queue.find(trace(tmp_path, rows))) == found


@pytest.mark.parametrize(("count", "found"), [(2, 0), (3, 1)])
def test_two_penalties_may_overlap_by_chance(tmp_path: Path, count: int, found: int) -> None:
    rows = queued(TICK, count) + queued(TICK, count, tid=301, start_cpu=1)
    assert len(semaphore_queue.find(trace(tmp_path, rows))) == found


@pytest.mark.parametrize(("every_ms", "found"), [(110, 1), (120, 0)])
def test_a_twentieth_of_the_time_is_noticed(tmp_path: Path, every_ms: int, found: int) -> None:
    """Of 3 waits of 4 ms: of 237 ms, or of 257 ms."""
    rows = queued(TICK, 3, every_ms * MS) + queued(TICK, 3, every_ms * MS, tid=301, start_cpu=1)
    assert len(semaphore_queue.find(trace(tmp_path, rows))) == found


def test_one_thread_is_no_queue(tmp_path: Path) -> None:
    assert semaphore_queue.find(trace(tmp_path, queued(TICK, 20))) == []


def test_the_victims_and_the_bound(tmp_path: Path) -> None:
    rows = queued(TICK, 10) + queued(3 * TICK, 10, tid=301, tgid=300, start_cpu=1)
    (finding,) = semaphore_queue.find(trace(tmp_path, rows))
    assert [each.tid for each in finding.numbers.victims] == [301, VCPU]
    assert (finding.numbers.processes, finding.numbers.longest_ns) == (2, 3 * TICK)
    assert finding.numbers.most_per_s == 125  # HZ/2
    assert finding.subject is None
    assert finding.headline == "2 threads of 2 VMs or programs waited for each other's split-lock penalties"


def test_one_that_waits_for_others(tmp_path: Path) -> None:
    rows = queued(TICK, 10) + queued(TICK - 1, 10, tid=301, tgid=300, start_cpu=1)
    (finding,) = semaphore_queue.find(trace(tmp_path, rows))
    assert finding.headline == "1 thread waited for the split-lock penalties of others"


def test_what_is_said_of_a_queue(tmp_path: Path) -> None:
    rows = [
        completed(at * 40 * MS + tid % 200 * MS, tid=tid, semaphore_ns=12 * MS, vcpu=tid - 201)
        for at in range(50)
        for tid in (201, 202, 203)
    ]
    (finding,) = semaphore_queue.find(trace(tmp_path, rows))
    found = said(finding)
    assert found.pop("evidence") == [at * 40 + tid for at in range(50) for tid in (1, 2, 3)]
    victims = [f"vCPU {at} of a process (PID 200, TID {201 + at}) 30.4 % of its time" for at in range(3)]
    assert found == {
        "who": None,
        "headline": "3 threads waited for each other's split-lock penalties",
        "facts": [
            "waited: 150 times, 1.8 s in all, at most 12 ms",
            "penalties: 75.9 a second of 3 threads; at most 125",
            f"victims: {'; '.join(victims)}",
        ],
        "time": (1, 1_976.02, False),
        "rip": None,
        "sure": ("CERTAIN", "each wait was measured"),
        "remedies": [
            "On the host",
            "Place the VMs that take split locks on different hosts",
            "In the guest",
            "On the host",
        ],
    }
    numbers = finding.numbers
    assert (numbers.threads, numbers.processes, numbers.holders, numbers.waits) == (3, 1, 3, 150)
    assert (numbers.waited_ns, numbers.completed, numbers.completed_per_s) == (1_800 * MS, 150, 75.9)
    assert [(each.waits, each.waited_ns, each.share) for each in numbers.victims] == [
        (50, 600 * MS, 0.3041)
    ] * 3
