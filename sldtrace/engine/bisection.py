"""Binary search in many sorted stretches of one array at once."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from sldtrace.engine.tables import Array

_ENOUGH = 32
"""Targets in a row in the same stretch, on average, from which on it is searched by itself."""

Positions = npt.NDArray[np.int64]


def upto(values: Array, begin: Array, end: Array, targets: Array, inclusive: bool = True) -> Positions:
    """For each target the position in values[begin:end], which is sorted, of the first value above it.

    inclusive: false for the first value that is not below it. Positions are those in `values`; `end` where
    there is no such value.
    """
    another = (begin[1:] != begin[:-1]) | (end[1:] != end[:-1])
    heads = np.flatnonzero(np.append(len(begin) > 0, another))
    if _ENOUGH * len(heads) < len(targets):
        return _by_stretch(values, begin, end, targets, heads, "right" if inclusive else "left")
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


# heads: of the targets that follow each other in one stretch.
def _by_stretch(
    values: Array, begin: Array, end: Array, targets: Array, heads: Array, side: Literal["left", "right"]
) -> Positions:
    found = np.empty(len(targets), np.int64)
    for head, tail in zip(heads.tolist(), [*heads[1:].tolist(), len(targets)], strict=True):
        first = int(begin[head])
        found[head:tail] = first + np.searchsorted(
            values[first : max(first, int(end[head]))], targets[head:tail], side
        )
    return found
