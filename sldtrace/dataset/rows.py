"""Records of one kind in few bytes each: read in batches, available by column as `frames.columns` documents.

A record of a trap has 112 bytes, a row of its DataFrame 190. The fields are stored in the narrowest type that
has all their values, which is about half of the record; a column of the documented type is made for a
computation and dropped after it. A selection is a list of indices, not a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from sldtrace.dataset import frames
from sldtrace.lazy import pd
from sldtrace.recording import schema as schemas
from sldtrace.recording.layout import Enumeration, Records
from sldtrace.recording.timeline import Timeline

BATCH = 1 << 18
"""Records that are read at a time, where one chunk of the file does not hold more."""

Array = npt.NDArray[Any]
Derive = Callable[[Records], Mapping[str, Array]]
"""Columns that are computed of the records, a batch at a time: each a bool or an integer for each record."""

_UNSIGNED = (np.uint8, np.uint16, np.uint32, np.uint64)
_SIGNED = (np.int8, np.int16, np.int32, np.int64)


class Labels:
    """Names for numbers in a derived column, in order of their first appearance."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def number(self, label: str) -> int:
        """The number that stands for this name."""
        return self.of.setdefault(label, len(self.of))


class _Stored:
    # A column that grows: of `size` values at most, in the narrowest type for those that it has so far.
    def __init__(self, size: int) -> None:
        self._size = size
        self.values: Array | None = None

    def put(self, start: int, values: Array) -> None:
        type_ = _narrowest(values)
        if self.values is None:
            self.values = np.zeros((self._size, *values.shape[1:]), type_)
        elif type_.itemsize > self.values.dtype.itemsize:
            self.values = self.values.astype(type_)
        self.values[start : start + len(values)] = values


def _narrowest(values: Array) -> np.dtype[Any]:
    if values.dtype.kind not in "iu" or not values.size:
        return values.dtype
    low, high = int(values.min()), int(values.max())
    types = _UNSIGNED if values.dtype.kind == "u" else _SIGNED
    for each in types:
        if np.iinfo(each).min <= low and high <= np.iinfo(each).max:
            return np.dtype(each)
    return values.dtype


class Table:
    """All records of one kind, in order of time; see `read`."""

    def __init__(
        self,
        kind: str,
        stored: Mapping[str, Array],
        enums: Mapping[str, Enumeration],
        labels: Mapping[str, Labels],
    ) -> None:
        self.kind = kind
        self._stored = stored
        self._enums = enums
        self._labels = labels
        self._parts = frames.parts(kind)
        derived = [name for name in stored if name not in {part.field.name for part in self._parts.values()}]
        self.size: int = len(next(iter(stored.values())))
        self.columns: list[str] = [*self._parts, *derived]

    def raw(self, name: str, indices: Array | None) -> Array:
        """The values as they are stored."""
        part = self._parts.get(name)
        values = self._stored[name if part is None else part.field.name]
        values = values if indices is None else values[indices]
        return values if part is None or part.is_whole else part.of(values, self._enums)

    def column(self, name: str, indices: Array | None) -> Any:
        """The values in the documented type."""
        values = self.raw(name, indices)
        part = self._parts.get(name)
        if part is not None and part.is_whole:
            # Nothing is copied where nothing changes but the sign: of times, mostly.
            same = values.dtype.itemsize == 8 and part.dtype in ("int64", "uint64")
            return values.view(part.dtype) if same else part.of(values, self._enums)
        if name in self._labels:
            labels = pd.Index(list(self._labels[name].of), dtype=str)
            return pd.Categorical.from_codes(values.astype(np.intp), labels)
        return values if values.dtype == bool else values.astype(np.int64)

    def plain(self, name: str, indices: Array | None) -> list[Any]:
        """The values as values of Python, None for <NA>."""
        part = self._parts.get(name)
        if part is not None:
            values = self._stored[part.field.name]
            return part.plain(values if indices is None else values[indices], self._enums)
        listed: list[Any] = self.raw(name, indices).tolist()
        if name in self._labels:
            labels = list(self._labels[name].of)
            return [labels[each] for each in listed]
        return listed


class Rows:
    """Some records of a table, in order of time unless something else is said.

    `rows["name"]` is a column as a pandas Series of the documented type, with an index from 0; `rows[mask]`
    are the rows for which the mask (a Series or array of bool, as long as the rows) holds.
    """

    def __init__(
        self, table: Table, size: int, indices: Array | None = None, extra: Mapping[str, Array] | None = None
    ) -> None:
        self._known: tuple[Table, Array | None] | None = (table, indices)
        self._size = size
        self._extra = dict(extra or {})
        self._read: Callable[[], Rows] | None = None
        self._shown: Callable[[], Rows] | None = None

    @classmethod
    def deferred(cls, size: int, read: Callable[[], Rows], shown: Callable[[], Rows]) -> Rows:
        """Rows that are read when they are asked for. shown: gives the first and the last few of them."""
        found = cls.__new__(cls)
        found._known, found._size, found._extra = None, size, {}
        found._read, found._shown = read, shown
        return found

    def _place(self) -> tuple[Table, Array | None]:
        if self._known is None:
            assert self._read is not None
            rows = self._read()
            self._size = len(rows)
            self._known = rows._place()
        return self._known

    @property
    def _table(self) -> Table:
        return self._place()[0]

    @property
    def _indices(self) -> Array | None:
        return self._place()[1]

    def __len__(self) -> int:
        return self._size

    @property
    def empty(self) -> bool:
        """Are there none?"""
        return not self._size

    @property
    def columns(self) -> list[str]:
        """The names: those of frames.columns, derived ones, and those of `assign`."""
        return [*self._table.columns, *self._extra]

    @overload
    def __getitem__(self, what: str) -> pd.Series[Any]: ...
    @overload
    def __getitem__(self, what: pd.Series[bool] | Array) -> Rows: ...
    def __getitem__(self, what: str | pd.Series[bool] | Array) -> pd.Series[Any] | Rows:
        if isinstance(what, str):
            extra = self._extra.get(what)
            return pd.Series(self._table.column(what, self._indices) if extra is None else extra)
        mask = np.asarray(what)
        self._place()
        if len(mask) != self._size:
            raise IndexError(f"a mask of {len(mask)} for {self._size} rows")
        return self if mask.all() else self.take(np.flatnonzero(mask))

    def take(self, positions: Array) -> Rows:
        """The rows at these positions, in their order."""
        if len(positions) == self._size and bool((positions[1:] > positions[:-1]).all()):
            return self  # all of them
        indices = positions.astype(np.uint32) if self._indices is None else self._indices[positions]
        extra = {name: each[positions] for name, each in self._extra.items()}
        return Rows(self._table, len(positions), indices, extra)

    def assign(self, **extra: pd.Series[Any] | Array) -> Rows:
        """The rows with more columns."""
        given = {name: np.asarray(values) for name, values in extra.items()}
        return Rows(self._table, self._size, self._indices, self._extra | given)

    def drop(self, name: str) -> Rows:
        """The rows without a column of `assign`."""
        extra = {each: values for each, values in self._extra.items() if each != name}
        return Rows(self._table, self._size, self._indices, extra)

    def frame(self) -> pd.DataFrame:
        """All of it as a DataFrame."""
        return pd.DataFrame({name: self[name] for name in self.columns})

    def plain(self) -> dict[str, list[Any]]:
        """All of it as values of Python by column, None for <NA>: for a few rows, without pandas."""
        extra = {name: values.tolist() for name, values in self._extra.items()}
        return {name: self._table.plain(name, self._indices) for name in self._table.columns} | extra

    def head_tail(self, first: int, last: int) -> Rows:
        """The first and the last rows; all of them if they are no more."""
        if self._known is None and self._shown is not None:
            shown = self._shown()
            if len(shown) >= min(self._size, first + last):
                size = len(shown)
                if self._size <= first + last:
                    return shown
                return shown.take(np.r_[:first, size - last : size])
        self._place()  # the number of rows that were read may be another one than the analysis counted
        if self._size <= first + last:
            return self
        return self.take(np.r_[:first, self._size - last : self._size])

    def groupby(self, *names: str) -> Iterator[tuple[tuple[int, ...], Rows]]:
        """The rows with the same values in these columns, and these as integers; in order of appearance."""
        if self.empty:
            return
        codes, count = self._codes(names)
        if count == 1:
            yield self._key(names, 0), self.assign()  # not itself: `threads` keeps it
            return
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=count))
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            yield self._key(names, int(order[start])), self.take(order[start:end])

    @cached_property
    def threads(self) -> dict[tuple[int, int], Rows]:
        """The rows of each thread, by TGID and TID, in order of appearance."""
        return {(key[0], key[1]): rows for key, rows in self.groupby("tgid", "tid")}

    def thread(self, tgid: int, tid: int) -> Rows:
        """The rows of one thread; none if it has none."""
        found = self.threads.get((tgid, tid))
        return self.take(np.zeros(0, np.intp)) if found is None else found

    def isin(self, selections: Sequence[Rows]) -> npt.NDArray[np.bool_]:
        """For each of these rows: is it in one of the selections? All must be of one table."""
        marked: npt.NDArray[np.bool_] = np.zeros(self._table.size, bool)
        for each in selections:
            marked[slice(None) if each._indices is None else each._indices] = True
        return marked if self._indices is None else marked[self._indices]

    def tid(self, tid: int) -> Rows:
        """The rows of all threads with that TID: more than one if it was used again."""
        found = self._by_tid.get(tid)
        return self.take(np.zeros(0, np.intp)) if found is None else found

    @cached_property
    def _by_tid(self) -> dict[int, Rows]:
        return {key[0]: rows for key, rows in self.groupby("tid")}

    def raw(self, name: str) -> Array:
        """A column as it is stored: in a narrow type, in which sums and differences may overflow."""
        return self._extra[name] if name in self._extra else self._table.raw(name, self._indices)

    def _key(self, names: tuple[str, ...], position: int) -> tuple[int, ...]:
        one = self.take(np.array([position]))
        return tuple(int(one.raw(name)[0]) for name in names)

    # A number for each combination of values, in order of appearance, in a narrow type; and how many.
    def _codes(self, names: tuple[str, ...]) -> tuple[Array, int]:
        codes: Array = np.zeros(self._size, np.uint8)
        count = 1
        for name in names:
            values = self.raw(name)
            if (values == values[0]).all():
                continue
            each, distinct = pd.factorize(values)
            if count > 1:
                each, distinct = pd.factorize(codes.astype(np.int64) * len(distinct) + each)
            count = len(distinct)
            codes = each.astype(_narrowest(np.array([count], np.uint64)))
        return codes, count


def read(
    recording: Timeline, kind: str, derive: Derive | None = None, labels: Mapping[str, Labels] | None = None
) -> Rows:
    """All records of that kind, in order of time.

    derive: gives more columns; labels: the names of those whose numbers are names. Fields that this version
    does not know are not stored. Raises SldtraceError for an unknown kind.
    """
    return of_records(
        recording, kind, recording.batches(kind, BATCH), recording.counts.get(kind, 0), derive, labels
    )


def of_records(
    recording: Timeline,
    kind: str,
    batches: Iterator[Records],
    size: int,
    derive: Derive | None = None,
    labels: Mapping[str, Labels] | None = None,
) -> Rows:
    """Some records of that kind, at most `size` and in any order, in order of time; see `read`."""
    fields = [field.name for field in schemas.current().records[kind].fields]
    stored: dict[str, _Stored] = {}
    end = 0
    empty = np.zeros(0, recording.upgrade(kind).dtype)
    for records in _or(batches, empty):
        found = {name: records[name] for name in fields} | dict(derive(records) if derive else {})
        for name, values in found.items():
            stored.setdefault(name, _Stored(size)).put(end, values)
        end += len(records)
    whole = {name: each.values[:end] for name, each in stored.items() if each.values is not None}
    _order(whole, fields[0])
    enums = frames.enumerations(recording, schemas.current())
    return Rows(Table(kind, whole, enums, labels or {}), end)


def _or(batches: Iterator[Records], empty: Records) -> Iterator[Records]:
    first = next(batches, empty)
    yield first
    yield from batches


def _order(values: dict[str, Array], by: str) -> None:
    times = values[by]
    if np.all(times[1:] >= times[:-1]):
        return
    order = np.argsort(times, kind="stable").astype(np.uint32)
    del times
    for name, each in values.items():
        values[name] = each[order]
