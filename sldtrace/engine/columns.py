"""Records of one kind as columns: several summaries read each field."""

from functools import cache
from typing import Any, overload

import numpy as np

from sldtrace.engine.tables import Array
from sldtrace.recording import schema
from sldtrace.recording.layout import Records


class Columns:
    """`columns["name"]` is a field as a contiguous array, `columns[mask or positions]` some of the records.

    A field is gathered when it is asked for, and kept. records: as one array.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self._known: dict[str, Array] = {}

    def __len__(self) -> int:
        return len(self.records)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the records."""
        return self.records.dtype

    @overload
    def __getitem__(self, what: str) -> Array: ...
    @overload
    def __getitem__(self, what: Array) -> "Columns": ...
    def __getitem__(self, what: str | Array) -> "Array | Columns":
        if not isinstance(what, str):
            take = self.records.compress if what.dtype == bool else self.records.take
            return Columns(take(what))
        found = self._known.get(what)
        if found is None:
            found = self._known[what] = np.ascontiguousarray(self.records[what])
        return found


@cache
def none(kind: str) -> Columns:
    """No record of that kind."""
    return Columns(np.zeros(0, schema.current().records[kind].dtype))
