"""Arrays that grow: one row for each thread, or for whatever else is numbered from 0."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def distinct(values: Array) -> Array:
    """The values, each once, the smallest first: np.unique, which imports numpy.ma for that (10 ms)."""
    ordered = np.sort(values)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


class Table:
    """Rows of one dtype, numbered from 0; new rows are zero."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._rows = np.zeros(64, dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows."""
        return self._rows.dtype

    def of(self, dtype: npt.DTypeLike) -> "Table":
        """The same rows in another dtype with fields of some of these names; the others are zero."""
        other = Table(dtype)
        rows = other.upto(len(self._rows))
        for name in set(rows.dtype.names or ()) & set(self._rows.dtype.names or ()):
            rows[name] = self._rows[name]
        return other

    def upto(self, count: int) -> Array:
        """The first `count` rows as a view, to read and to write; valid until the next call."""
        if count > len(self._rows):
            grown = np.zeros(max(count, 2 * len(self._rows)), self._rows.dtype)
            grown[: len(self._rows)] = self._rows
            self._rows = grown
        return self._rows[:count]

    def keep(self, numbers: Array) -> None:
        """Only these rows stay, numbered from 0 in this order."""
        kept = self._rows[numbers]
        self._rows = np.zeros(max(64, len(kept)), self._rows.dtype)
        self._rows[: len(kept)] = kept
