"""Sums in blocks: every trap is in one, however the records are cut into slices."""

import numpy as np
import pytest

from sldtrace.engine.block_sums import METRICS, BlockSums
from sldtrace.engine.columns import Columns
from sldtrace.engine.fold import Fold
from sldtrace.engine.time_columns import TimeGrid
from tests.analyzers.synthetic import MS, START_NS, VCPU, array, completed, loop

ROWS = [*loop(100), *(completed(index * 10 * MS, tid=VCPU + 1) | {"rip": 0x9000} for index in range(20))]


def summed(size: int, most: int = 1024) -> BlockSums:
    found = BlockSums(TimeGrid(START_NS, START_NS + 200 * MS, 4), most)
    fold = Fold([found])
    for start in range(0, len(ROWS), size):
        fold.update({"trap": Columns(array("trap", ROWS[start : start + size]))})
    return found


@pytest.mark.parametrize("size", [7, 1000])
def test_every_trap_is_in_one_block(size: int) -> None:
    found = summed(size)
    assert found.rip.tolist() == [ROWS[0]["rip"], 0x9000]
    traps, early, penalty, progress = (found.sums[:, METRICS.index(name)] for name in METRICS)
    assert traps.sum(axis=1).tolist() == [100, 20]
    assert traps[1].tolist() == [5, 5, 5, 5]
    assert early.sum(axis=1).tolist() == [100, 0]
    assert progress.sum(axis=1).tolist() == [0, 20]
    assert penalty.sum() == sum(row.get("sleep_ns", 0) + row.get("semaphore_ns", 0) for row in ROWS)
    assert np.array_equal(found.sums, summed(13).sums)


def test_further_addresses_are_counted_as_left_out() -> None:
    found = summed(1000, most=1)
    assert len(found.sums) == 1
    assert found.left_out == 20
