"""Binary search in many sorted stretches of one array at once."""

import numpy as np
import numpy.typing as npt

from sldtrace.engine.tables import Array

Positions = npt.NDArray[np.int64]


def upto(values: Array, begin: Array, end: Array, targets: Array, inclusive: bool = True) -> Positions:
    """For each target the position in values[begin:end], which is sorted, of the first value above it.

    inclusive: false for the first value that is not below it. Positions are those in `values`; `end` where
    there is no such value.
    """
    low, high = begin.astype(np.int64), end.astype(np.int64)
    while True:
        open_ = np.flatnonzero(low < high)
        if not len(open_):
            return low
        middle = (low[open_] + high[open_]) >> 1
        found, target = values[middle], targets[open_]
        below = found <= target if inclusive else found < target
        low[open_] = np.where(below, middle + 1, low[open_])
        high[open_] = np.where(below, high[open_], middle)
