"""Waits for the semaphore and its holds, however the records are cut."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings

from sldtrace.engine import semaphore_waits
from sldtrace.engine.semaphore_waits import SemaphoreWaits
from tests.analyzers.synthetic import FLAGS, TICK, Row, completed
from tests.engine.histories import cuts, histories
from tests.engine.sliced import fold


def is_hold(row: Row) -> bool:
    return bool(row["flags"] & FLAGS["SEMAPHORE"] and row["flags"] & FLAGS["MSR_CLEARED"])


def is_wait(row: Row) -> bool:
    acquired = row["flags"] & FLAGS["SEMAPHORE"] and not row.get("semaphore_result")
    return bool(acquired and row.get("semaphore_ns", 0) >= TICK)


@settings(deadline=None, max_examples=150)
@given(histories, cuts)
def test_however_the_records_are_cut(rows: list[Row], cuts: list[int]) -> None:
    summary = SemaphoreWaits(TICK)
    threads = fold(summary, {"trap": rows}, cuts).tracker.threads
    waits, holds = defaultdict[int, list[Row]](list), defaultdict[int, list[int]](list)
    for row in rows:
        number = threads.look_up(row["tgid"], row["tid"])
        assert number is not None
        if is_wait(row):
            waits[number].append(row)
        if is_hold(row):
            holds[number].append(row["end_ns"])
    for number, found in enumerate(summary.threads):
        lengths = [row["semaphore_ns"] for row in waits[number]]
        assert (found["waits"], found["waited_ns"], found["holds"]) == (
            len(lengths),
            sum(lengths),
            len(holds[number]),
        )
        assert found["longest_ns"] == max(lengths, default=0)
    waiting = [number for number in waits if waits[number]]
    for chosen in (waiting, waiting[:1]):
        if not chosen:
            continue
        start = min(row["start_ns"] for number in chosen for row in waits[number])
        end = max(row["end_ns"] for number in chosen for row in waits[number])
        queue = summary.queue(np.array(chosen))
        assert (queue.start_ns, queue.end_ns) == (start, end)
        assert queue.completed == sum(start <= each <= end for ends in holds.values() for each in ends)
        assert queue.holders == sum(
            min(ends) <= end and max(ends) >= start for ends in holds.values() if ends
        )


def test_open_holds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semaphore_waits, "MOST_OPEN", 2)
    summary = SemaphoreWaits(TICK)
    fold(summary, {"trap": [completed(n, tid=n) | {"end_ns": 1 << 60} for n in range(5)]}, range(5))
    assert len(summary._open) == 2
