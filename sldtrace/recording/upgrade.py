"""Converts records of an older or newer schema into the current one, without dropping fields."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sldtrace.recording.layout import LayoutError, Record, Records


def check_form(written: Record, current: Record) -> None:
    """Raises LayoutError if a field has another form than in this version; `written`: as in a file.

    Its size may differ. A text stays a text, an array keeps its length, and a signed number stays signed or
    becomes so where all values fit.
    """
    known = {field.name: field for field in current.fields}
    for field in written.fields:
        if field.name not in known:
            continue
        found, ours = field.dtype, known[field.name].dtype
        same = found.base.kind == ours.base.kind
        fits = "S" not in (found.base.kind, ours.base.kind) and np.can_cast(found.base, ours.base, "safe")
        if found.shape != ours.shape or not (same or fits):
            raise LayoutError(f"field {field.name} of {written.name} has another form: {field.type}")


@dataclass(frozen=True)
class Upgrade:
    """How the records of one kind are read: `written` is their layout in the file, `current` in this version.

    The result has the current fields in their order, then those that only the file has. A field that
    the file lacks holds its default (`Field.default`). A field whose type changed takes the current type
    where that holds every value, and keeps the file's otherwise.
    """

    written: Record
    current: Record | None

    @property
    def filled(self) -> tuple[str, ...]:
        """Fields that the file lacks."""
        have = {field.name for field in self.written.fields}
        return (
            tuple(field.name for field in self.current.fields if field.name not in have)
            if self.current
            else ()
        )

    @property
    def carried(self) -> tuple[str, ...]:
        """Fields that only the file has."""
        know = {field.name for field in self.current.fields} if self.current else set()
        return tuple(field.name for field in self.written.fields if field.name not in know)

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """The numpy type of the result."""
        if self.current is None or self.current.dtype == self.written.dtype:
            return self.written.dtype
        old = {field.name: field.dtype for field in self.written.fields}
        fields: list[tuple[str, np.dtype[Any]]] = []
        for field in self.current.fields:
            found = old.get(field.name, field.dtype)
            fields.append((field.name, field.dtype if np.can_cast(found, field.dtype, "safe") else found))
        fields += [(name, old[name]) for name in self.carried]
        return np.dtype(fields)

    def apply(self, records: Records) -> Records:
        """The records in the result's type: the same array when nothing changed, a new one otherwise."""
        if self.dtype == self.written.dtype:
            return records
        result = np.empty(len(records), self.dtype)
        for field in self.written.fields:
            result[field.name] = records[field.name]
        for name in self.filled:
            assert self.current is not None
            result[name] = self.current.field(name).default
        return result
