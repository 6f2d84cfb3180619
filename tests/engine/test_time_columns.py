"""Time in columns: each span is in the columns that it lies in, for all of its length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.engine.time_columns import TimeGrid

spans = st.lists(st.tuples(st.integers(0, 2), st.integers(-50, 1100), st.integers(0, 700)), max_size=30)


def slow(found: list[tuple[int, int, int]], columns: TimeGrid) -> np.ndarray:
    """Nanosecond by nanosecond."""
    into = np.zeros((3, columns.count))
    for row, start, length in found:
        for ns in range(start, start + length):
            at = (ns - columns.start_ns) // columns.width_ns
            if 0 <= at < columns.count:
                into[row, at] += 1
    return into


@given(spans, st.integers(1, 40))
def test_spans_are_in_the_columns_that_they_lie_in(found: list[tuple[int, int, int]], count: int) -> None:
    columns = TimeGrid(0, 1000, count)
    into = np.zeros((3, count))
    row, start, length = (np.array([each[at] for each in found], np.int64) for at in range(3))
    columns.spread(into, row, start, start + length)
    np.testing.assert_allclose(into, slow(found, columns), atol=1e-6)


def test_weights_are_shares_of_a_span() -> None:
    columns = TimeGrid(0, 100, 10)
    into = np.zeros((1, 10))
    columns.spread(into, np.array([0]), np.array([5]), np.array([35]), np.array([0.5]))
    assert into[0].tolist() == [2.5, 5, 5, 2.5, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("time", "column"), [(-5, 0), (0, 0), (99, 9), (100, 9), (55, 5)])
def test_times_outside_are_in_the_first_or_the_last_column(time: int, column: int) -> None:
    columns = TimeGrid(0, 100, 10)
    assert columns.of(np.array([time])).tolist() == [column]
    counts = np.zeros((1, 10), np.int64)
    columns.count_at(counts, np.array([0]), np.array([time]))
    assert counts[0, column] == counts.sum() == 1
