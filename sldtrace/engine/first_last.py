"""The times of the first and the last records of each of many series, and how many there are."""

from collections.abc import Iterable

import numpy as np

from sldtrace.engine.tables import Array, Table
from sldtrace.model.early_returns import Times

FIRST, LAST = 4, 3
"""How many of the first and of the last records are remembered."""

_NEVER = np.iinfo(np.int64).max
_ROW = np.dtype([("count", "i8"), ("first", "i8", (FIRST,)), ("last", "i8", (LAST,))])


class FirstLast:
    """Series have numbers from 0. Of records of the same time each counts."""

    def __init__(self) -> None:
        self._rows = Table(_ROW)
        self._size = 0

    def add(self, series: Array, ns: Times) -> None:
        """Adds the time of a record to each of these series, in any order."""
        if not len(series):
            return
        order = np.lexsort((ns, series))
        series, ns = series[order], ns[order]
        heads = np.flatnonzero(np.append(True, series[1:] != series[:-1]))
        self.add_runs(series[heads], heads, np.diff(heads, append=len(series)), ns)

    def add_runs(self, series: Array, heads: Array, lengths: Array, ns: Times) -> None:
        """Adds to each of these series, each once, the times from its head on: in order, at least one."""
        first, last = np.arange(FIRST), np.arange(LAST) - LAST
        ends = heads + lengths
        found = np.zeros(len(series), _ROW)
        found["count"] = lengths
        for name, at, missing in (
            ("first", heads[:, None] + first, _NEVER),
            ("last", ends[:, None] + last, -1),
        ):
            inside = (at >= heads[:, None]) & (at < ends[:, None])
            found[name] = np.where(inside, ns[np.where(inside, at, heads[:, None])], missing)
        self._merge(series, found)

    def move(self, to: "FirstLast", series: Array) -> None:
        """Moves these series to the same ones of another object."""
        rows = self._upto(series)
        some = series[rows["count"][series] > 0]
        if len(some):
            to._merge(some, rows[some])
            rows["count"][some] = 0

    def count(self, series: int) -> int:
        """How many records a series has."""
        return int(self._rows.upto(self._size)["count"][series]) if series < self._size else 0

    def times(self, series: Iterable[int]) -> list[int]:
        """The times of the first and the last records of all these series together, in order."""
        known = [each for each in series if self.count(each)]
        rows = self._rows.upto(self._size)[known]
        first, last = np.sort(rows["first"].reshape(-1)), np.sort(rows["last"].reshape(-1))
        return sorted({*first[:FIRST].tolist(), *last[-LAST:].tolist()} - {_NEVER, -1})

    def _upto(self, series: Array) -> Array:
        self._size = max(self._size, int(series.max(initial=-1)) + 1)
        return self._rows.upto(self._size)

    def _merge(self, series: Array, found: Array) -> None:
        rows = self._upto(series)
        mine = rows[series]
        new = mine["count"] == 0
        mine["first"][new], mine["last"][new] = _NEVER, -1
        mine["count"] += found["count"]
        mine["first"] = np.sort(np.concatenate([mine["first"], found["first"]], axis=1), axis=1)[:, :FIRST]
        mine["last"] = np.sort(np.concatenate([mine["last"], found["last"]], axis=1), axis=1)[:, -LAST:]
        rows[series] = mine
