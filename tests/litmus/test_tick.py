"""The jiffy is found from the times at which penalties end."""

import random

import pytest

from sldtrace.litmus import tick


@pytest.mark.parametrize("length", tick.TICKS_NS)
def test_ends_at_ticks_name_the_jiffy(length: int) -> None:
    chance = random.Random(length)
    ends = [number * length + chance.randrange(60_000) for number in chance.sample(range(10_000), 20)]
    assert tick.find(ends) == length


def test_ends_at_any_time_name_none() -> None:
    chance = random.Random(1)
    assert tick.find([chance.randrange(10**10) for _ in range(40)]) is None


def test_few_ends_name_none() -> None:
    assert tick.find([number * 4_000_000 for number in range(4)]) is None
