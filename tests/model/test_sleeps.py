"""How long the sleep is, by what signals left of it."""

import itertools

import numpy as np
import pytest

from sldtrace.model.penalty import sleep_jiffies
from sldtrace.model.sleeps import Sleeps

MS = 1_000_000
TICK = 4 * MS


def seen(*sleeps: tuple[int, int], tick_ns: int = TICK, asked_ms: int = 10) -> int | None:
    """sleeps: length in ns and what was left in ms; taken one by one, and all at once."""
    ns, left = (np.array(each, np.uint64) for each in zip(*sleeps, strict=True))
    asked, slept = np.full(len(ns), asked_ms, np.uint32), np.ones(len(ns), bool)
    whole, pieces = Sleeps(tick_ns), Sleeps(tick_ns)
    whole.add(slept, asked, left, ns)
    for one in itertools.pairwise(range(len(ns) + 1)):
        part = slice(*one)
        pieces.add(slept[part], asked[part], left[part], ns[part])
    assert whole.jiffies == pieces.jiffies
    return whole.jiffies


@pytest.mark.parametrize("tick_ms", [1, 4, 10])
def test_the_most_that_was_left_is_what_is_asked_for(tick_ms: int) -> None:
    for jiffies in sleep_jiffies(tick_ms * MS):
        early = [(tick_ms * MS // 2 - 1, jiffies * tick_ms)] * 20
        later = [(tick_ms * MS, (jiffies - 1) * tick_ms)] * 100
        assert seen(*early, *later, tick_ns=tick_ms * MS) == jiffies


@pytest.mark.parametrize(
    "sleeps",
    [
        [(TICK // 2 - 1, 12)] * 19,  # too few
        [(TICK // 2, 12)] * 100,  # a tick may have come in each
        [(TICK // 2 - 1, 9)] * 100,  # no whole number of jiffies
        [(TICK // 2 - 1, 0)] * 100,  # slept out
        [*[(TICK // 2 - 1, 12)] * 100, (MS, 20)],  # more than any kernel asks for
    ],
)
def test_what_does_not_tell(sleeps: list[tuple[int, int]]) -> None:
    assert seen(*sleeps) is None


def test_only_the_penaltys_sleeps_count() -> None:
    assert seen(*[(MS, 12)] * 100, asked_ms=20) is None
    other = Sleeps(TICK)
    other.add(np.zeros(100, bool), np.full(100, 10), np.full(100, 12), np.full(100, MS))
    assert other.jiffies is None
