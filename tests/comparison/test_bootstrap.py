"""Confidence intervals: they contain the truth as often as they should."""

import numpy as np

from sldtrace.comparison import bootstrap


def test_the_interval_contains_the_true_difference_nineteen_times_of_twenty() -> None:
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        found = bootstrap.difference(random.gamma(2, 1, 60), random.gamma(2, 1, 40) + 0.5)
        inside += found.low <= 0.5 <= found.high
    assert 180 <= inside <= 198


def test_equal_blocks_have_no_width() -> None:
    found = bootstrap.mean(np.full(10, 3.0))
    assert (found.value, found.low, found.high) == (3, 3, 3)


def test_the_same_values_have_the_same_interval() -> None:
    values = np.arange(20.0)
    assert bootstrap.mean(values) == bootstrap.mean(values)


def test_two_equal_recordings_have_an_interval_around_zero() -> None:
    values = np.random.default_rng(3).gamma(2, 1, 50)
    found = bootstrap.difference(values, values)
    assert found.value == 0
    assert found.low < 0 < found.high
