"""Numbers for keys of 64 bits, in order of appearance: for groups, and to count distinct values."""

import numpy as np
import numpy.typing as npt

from sldtrace.engine.tables import Array, Table

Keys64 = npt.NDArray[np.uint64]


def joined(high: Array, low: Array) -> Keys64:
    """Two values of 32 bits each as one key."""
    found: Keys64 = high.astype(np.uint32).astype(np.uint64) << np.uint64(32) | low.astype(np.uint32)
    return found


class Keys:
    """Gives each key a number, up to `most` keys; later keys get none.

    left_out: how often a key without a number came.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._sorted: Keys64 = np.zeros(0, np.uint64)
        self._numbers: npt.NDArray[np.int64] = np.zeros(0, np.int64)  # of the keys in `_sorted`
        self._keys = Table(np.uint64)
        self.left_out = 0

    def __len__(self) -> int:
        return len(self._sorted)

    @property
    def keys(self) -> Keys64:
        """By number."""
        return self._keys.upto(len(self))

    def look_up(self, keys: Keys64) -> npt.NDArray[np.int64]:
        """The number of each key; -1: it has none."""
        if not len(self):
            return np.full(len(keys), -1, np.int64)
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self) - 1)
        return np.where(self._sorted[at] == keys, self._numbers[at], -1)

    def numbers(self, keys: Keys64) -> npt.NDArray[np.int64]:
        """The number of each key; those that are new get one. -1: there was no room for it."""
        found = self.look_up(keys)
        rest = np.flatnonzero(found < 0)
        if not len(rest):
            return found
        distinct, first, inverse = np.unique(keys[rest], return_index=True, return_inverse=True)
        known = len(self)
        order = np.argsort(first, kind="stable")
        each = np.empty(len(distinct), np.int64)
        each[order] = np.arange(known, known + len(distinct))
        each[each >= self.most] = -1
        found[rest] = each[inverse.reshape(-1)]
        self.left_out += int(np.count_nonzero(found[rest] < 0))
        added = each >= 0
        new, numbers = distinct[added], each[added]
        self._keys.upto(known + len(new))[numbers] = new
        at = np.searchsorted(self._sorted, new)
        self._sorted = np.insert(self._sorted, at, new)
        self._numbers = np.insert(self._numbers, at, numbers)
        return found
