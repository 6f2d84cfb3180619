"""The jiffy of the kernel that ends the penalties: they end at its ticks."""

import cmath
from collections.abc import Sequence

TICKS_NS = (10_000_000, 4_000_000, 3_333_333, 1_000_000)
"""HZ = 100, 250, 300 and 1000 (kernel/Kconfig.hz), the longest first."""

_FEWEST = 5
_CONCENTRATION = 0.9  # of the ends within a tick: 1 if all are at the same place, 0 if they are anywhere


def find(ends_ns: Sequence[int]) -> int | None:
    """The length of the jiffy at which these times lie, in ns; None if they are too few, or at no tick.

    A sleep ends in the interrupt of a tick (the timer wheel, kernel/time/timer.c). Times that lie at a long
    tick also lie at the short ones that divide it, so the longest counts.
    """
    if len(ends_ns) < _FEWEST:
        return None
    first = min(ends_ns)
    for tick in TICKS_NS:
        around = sum(cmath.exp(2j * cmath.pi * (end - first) / tick) for end in ends_ns)
        if abs(around) / len(ends_ns) >= _CONCENTRATION:
            return tick
    return None
