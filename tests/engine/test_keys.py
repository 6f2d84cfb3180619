"""Numbers of keys: those of their appearance, as many as there is room for."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine.keys import Keys, joined

batches = st.lists(st.lists(st.integers(0, 12) | st.just((1 << 64) - 1), max_size=12), max_size=6)


@settings(deadline=None, max_examples=60)
@given(batches, st.integers(1, 8))
def test_numbers_are_those_of_appearance(given_: list[list[int]], most: int) -> None:
    keys, expected, left_out = Keys(most), dict[int, int](), 0
    for batch in given_:
        found = keys.numbers(np.array(batch, np.uint64))
        for key in batch:
            if key not in expected and len(expected) < most:
                expected[key] = len(expected)
        left_out += sum(key not in expected for key in batch)
        assert found.tolist() == [expected.get(key, -1) for key in batch]
    assert keys.keys.tolist() == list(expected)
    assert keys.left_out == left_out
    known = np.array([*expected, 77], np.uint64)
    assert keys.look_up(known).tolist() == [*expected.values(), -1]


def test_two_values_are_one_key() -> None:
    ids = np.array([0, 1, (1 << 32) - 1], np.uint32)
    assert joined(ids, ids[::-1]).tolist() == [(1 << 32) - 1, (1 << 32) + 1, ((1 << 32) - 1) << 32]
