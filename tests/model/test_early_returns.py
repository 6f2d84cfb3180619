"""The thresholds of the rule, on both sides: what makes a chain a loop, and loops a livelock."""

import pytest

from sldtrace.model import early_returns as rule
from sldtrace.model import penalty

KERNEL = penalty.for_kernel("6.12.0", 4_000_000, mode="warn", mitigate=1)
LONGEST = KERNEL.longest_sleep_ns


@pytest.mark.parametrize(
    ("count", "lasted_ns", "loops"),
    [(3, LONGEST + 1, True), (2, LONGEST + 1, False), (3, LONGEST, False), (100, LONGEST, False)],
)
def test_a_chain_is_a_loop_when_it_outlasts_a_penalty(count: int, lasted_ns: int, loops: bool) -> None:
    assert bool(rule.is_loop(count, lasted_ns, KERNEL)) is loops


@pytest.mark.parametrize(
    ("loops", "longest_ns", "early_returns", "stands_still"),
    [
        (1, 8 * LONGEST, 8, True),
        (1, 8 * LONGEST - 1, 8, False),
        (1, 8 * LONGEST, 7, False),  # few long waits are no pattern
        (2, 8 * LONGEST, 100, False),  # it gets through now and then
        (2, 64 * LONGEST - 1, 100, False),
        (2, 64 * LONGEST, 8, True),
        (2, 64 * LONGEST, 7, False),
    ],
)
def test_loops_are_a_livelock_when_chance_does_not_make_them(
    loops: int, longest_ns: int, early_returns: int, stands_still: bool
) -> None:
    assert rule.is_livelock(loops, longest_ns, early_returns, KERNEL) is stands_still
