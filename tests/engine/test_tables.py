"""Distinct values of an array."""

import numpy as np
import pytest

from sldtrace.engine.tables import distinct

PAIRS = [("tgid", np.uint32), ("tid", np.uint32)]


@pytest.mark.parametrize(
    "values",
    [
        np.array([3, -1, 3, 2, -1]),
        np.array([], np.int64),
        np.array([7], np.uint64),
        np.array([(2, 1), (1, 9), (2, 1), (1, 3)], PAIRS),
    ],
)
def test_each_value_comes_once_the_smallest_first(values: np.ndarray) -> None:
    before = values.copy()
    assert distinct(values).tolist() == sorted(set(values.tolist()))
    assert distinct(values).dtype == values.dtype
    assert (values == before).all()
