"""Confidence intervals of means over blocks of time, and of their difference.

The traps of a loop depend on each other, so they are not resampled one by one: whole blocks of time are,
which are long enough to be nearly independent (the block bootstrap; Künsch, Annals of Statistics 17, 1989).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
LEVEL = 0.95
"""Of the intervals."""

Values = npt.NDArray[np.float64]

_SEED = 1  # the same recordings give the same intervals


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_0(self) -> bool:
        """Of a difference: is it more than chance?"""
        return self.low > 0 or self.high < 0


def means(blocks: Values) -> Values:
    """Means of RESAMPLES samples of the blocks, as many as there are, with replacement."""
    random = np.random.default_rng(_SEED)
    counts = random.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), RESAMPLES)
    found: Values = counts @ blocks / len(blocks)
    return found


def mean(blocks: Values) -> Interval:
    """The mean of one recording's blocks."""
    return _interval(float(blocks.mean()), means(blocks))


def difference(before: Values, after: Values) -> Interval:
    """The mean of `after` minus that of `before`: two recordings, resampled independently."""
    # Two recordings of as many blocks have drawn the same ones: in another order they are independent.
    samples = np.random.default_rng(_SEED).permutation(means(after)) - means(before)
    return _interval(float(after.mean() - before.mean()), samples)


def _interval(value: float, samples: Values) -> Interval:
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, min(float(low), value), max(float(high), value))
