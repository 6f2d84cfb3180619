"""The first and the last times of series, however they come."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.engine.first_last import FIRST, LAST, FirstLast

records = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 50)), max_size=40)


def ends(times: list[int]) -> list[int]:
    times = sorted(times)
    return sorted({*times[:FIRST], *times[-LAST:]})


@given(st.lists(records, max_size=5))
def test_whatever_the_batches(batches: list[list[tuple[int, int]]]) -> None:
    found = FirstLast()
    for batch in batches:
        series, ns = (np.array([each[at] for each in batch], np.int64) for at in (0, 1))
        found.add(series, ns)
    every = [each for batch in batches for each in batch]
    for number in range(5):
        mine = [ns for series, ns in every if series == number]
        assert (found.count(number), found.times([number])) == (len(mine), ends(mine))


@given(records, records, st.sets(st.integers(0, 4)))
def test_moved_series_are_those_of_the_other(
    mine: list[tuple[int, int]], others: list[tuple[int, int]], moved: set[int]
) -> None:
    one, other = FirstLast(), FirstLast()
    for each, batch in ((one, mine), (other, others)):
        each.add(*(np.array([row[at] for row in batch], np.int64) for at in (0, 1)))
    one.move(other, np.array(sorted(moved), np.int64))
    for number in range(5):
        kept = [ns for series, ns in mine if series == number]
        there = [ns for series, ns in others if series == number]
        assert one.count(number) == (0 if number in moved else len(kept))
        assert other.times([number]) == ends(there + kept if number in moved else there)


def test_of_several_series_the_first_and_the_last_of_all() -> None:
    found = FirstLast()
    found.add(np.array([0, 0, 1, 1, 1, 1, 2]), np.array([10, 20, 1, 2, 3, 30, 99]))
    assert found.times([0, 1]) == [1, 2, 3, 10, 20, 30]
    assert found.times([7]) == []
