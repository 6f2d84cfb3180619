"""Binary search in stretches: as numpy's in each of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine.bisection import upto

stretches = st.lists(st.lists(st.integers(0, 9), max_size=9).map(sorted), min_size=1, max_size=5)


@pytest.mark.parametrize("times", [1, 50], ids=["few in a row", "many in a row"])
@pytest.mark.parametrize("inclusive", [True, False])
@settings(deadline=None, max_examples=50)
@given(stretches, st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 10)), max_size=20))
def test_as_numpy_in_each_stretch(
    times: int, inclusive: bool, parts: list[list[int]], asked: list[tuple[int, int]]
) -> None:
    values = np.array([value for part in parts for value in part], np.int64)
    ends = np.cumsum([len(part) for part in parts])
    which = np.array([number % len(parts) for number, _ in asked for _ in range(times)], np.int64)
    targets = np.array([target for _, target in asked for _ in range(times)], np.int64)
    begins = ends - [len(part) for part in parts]
    found = upto(values, begins[which], ends[which], targets, inclusive)
    for at, number, target in zip(found.tolist(), which.tolist(), targets.tolist(), strict=True):
        assert at - begins[number] == np.searchsorted(parts[number], target, "right" if inclusive else "left")
