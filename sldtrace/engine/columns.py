"""Records of one kind as columns: several summaries read each field."""

from collections.abc import Sequence
from functools import cache
from typing import Any, overload

import numpy as np

from sldtrace.engine.tables import Array
from sldtrace.recording import schema
from sldtrace.recording.layout import Records


class Columns:
    """`columns["name"]` is a field as a contiguous array, `columns[mask or positions]` some of the records.

    A field is gathered when it is asked for, and kept. dtype: of the records.
    """

    def __init__(self, parts: Sequence[Records]) -> None:
        """parts: the records, one part after the other; at least one; all have one dtype."""
        self.dtype: np.dtype[Any] = parts[0].dtype
        self._parts = parts
        self._ends = np.cumsum([len(each) for each in parts])
        self._size = int(self._ends[-1])
        self._chosen: tuple[Columns, Array] | None = None  # of which records which ones; None: all
        self._known: dict[str, Array] = {}

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, what: str) -> Array: ...
    @overload
    def __getitem__(self, what: Array) -> "Columns": ...
    def __getitem__(self, what: str | Array) -> "Array | Columns":
        if not isinstance(what, str):
            return self._some(np.flatnonzero(what) if what.dtype == bool else what)
        found = self._known.get(what)
        if found is None:
            found = self._known[what] = self._gather(what)
        return found

    def records(self) -> Records:
        """The records as one array."""
        if self._chosen is None:
            return np.concatenate(self._parts)
        parts, ends, (_, at) = self._parts, self._ends, self._chosen
        part = np.searchsorted(ends, at, "right")
        found = np.empty(self._size, self.dtype)
        for number in np.unique(part).tolist():
            mine = np.flatnonzero(part == number)
            found[mine] = parts[number][at[mine] - (ends[number] - len(parts[number]))]
        return found

    def _some(self, at: Array) -> "Columns":
        found = Columns.__new__(Columns)
        found.dtype, found._size, found._known = self.dtype, len(at), {}
        found._parts, found._ends = self._parts, self._ends
        found._chosen = (self, at) if self._chosen is None else (self._chosen[0], self._chosen[1][at])
        return found

    def _gather(self, name: str) -> Array:
        if self._chosen is not None:
            whole, at = self._chosen
            gathered: Array = whole[name][at]
            return gathered
        fields = [each[name] for each in self._parts]
        return np.concatenate(fields) if len(fields) > 1 else np.ascontiguousarray(fields[0])


@cache
def none(kind: str) -> Columns:
    """No record of that kind."""
    return Columns([np.zeros(0, schema.current().records[kind].dtype)])
