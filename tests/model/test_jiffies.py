"""The arithmetic of the kernel's timers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.model import jiffies

TICK = 4_000_000


def tick_of(hz: int) -> int:
    """TICK_NSEC (include/linux/jiffies.h): what the coarse clock gives as its resolution."""
    return (1_000_000_000 + hz // 2) // hz


@pytest.mark.parametrize(
    ("ms", "tick_ns", "expected"),
    [
        (0, 4_000_000, 0),
        (1, 4_000_000, 1),
        (4, 4_000_000, 1),
        (5, 4_000_000, 2),
        (8, 4_000_000, 2),
        (12, 4_000_000, 3),
        (10, 10_000_000, 1),
        (11, 10_000_000, 2),
        (10, 1_000_000, 10),
    ],
)
def test_a_jiffy_that_is_begun_counts(ms: int, tick_ns: int, expected: int) -> None:
    assert jiffies.msecs_to_jiffies(ms, tick_ns) == expected


@given(st.integers(0, 10_000), st.sampled_from([100, 250, 300, 1000]))
def test_jiffies_cover_the_time_and_no_jiffy_more(ms: int, hz: int) -> None:
    """In units of 1/HZ, exactly: (jiffies - 1) / HZ < ms / 1000 <= jiffies / HZ."""
    found = jiffies.msecs_to_jiffies(ms, tick_of(hz))
    assert (found - 1) * 1000 < ms * hz <= found * 1000 or found == ms == 0


@pytest.mark.parametrize(
    ("hz", "expected"), [(100, [10, 20]), (250, [4, 8, 12, 16]), (300, [4, 7, 10, 14]), (1000, [1, 2, 3])]
)
def test_what_msleep_interruptible_returns(hz: int, expected: list[int]) -> None:
    found = [jiffies.jiffies_to_msecs(left, tick_of(hz)) for left in range(1, len(expected) + 1)]
    assert found == expected


@given(st.integers(0, 10**12), st.integers(1, 11))
def test_a_timer_takes_its_jiffies_and_at_most_one_more(now: int, asked: int) -> None:
    took = jiffies.expiry_ns(now, asked, TICK) - now
    assert asked * TICK < took <= (asked + 1) * TICK


@given(st.integers(0, 10**9), st.integers(1, 11), st.integers(0, 10**8))
def test_jiffies_left(begin: int, asked: int, later: int) -> None:
    """None is left when `asked` ticks have come: always after that many jiffies, never one earlier."""
    found = jiffies.left(begin, asked, begin + later, TICK)
    assert found >= 0
    if later <= (asked - 1) * TICK:
        assert found > 0
    if later >= asked * TICK:
        assert found == 0
    edge = (begin // TICK + asked) * TICK
    assert jiffies.left(begin, asked, edge - 1, TICK) == 1
    assert jiffies.left(begin, asked, edge, TICK) == 0
