"""Turns a recording into typed DataFrames, and the records' clock into wall time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sldtrace.errors import SldtraceError
from sldtrace.lazy import pd
from sldtrace.model.early_returns import Times
from sldtrace.recording import schema as schemas
from sldtrace.recording.layout import Enumeration, Field, Records, Schema
from sldtrace.recording.timeline import Timeline
from sldtrace.text.escape import comm

_CLOCK_END = 1 << 62  # ns: the year 2116; a sum of two still fits into 64 bits
_FULL_WIDTH = {"address", "MSR"}  # units whose values may have bit 63 set


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a frame: its pandas type by name, and unit and meaning as in bpf/events.h."""

    dtype: str
    unit: str
    meaning: str


def _dtype(field: Field) -> str:
    if field.type.startswith("char"):
        return "text"
    if field.enum is not None and not field.enum.endswith("_flags"):
        return "category"
    if field.unit in _FULL_WIDTH:
        return "uint64"
    return "int64" if field.not_known is None else "Int64"


DERIVED: Mapping[str, Mapping[str, Column]] = {
    "trap": {
        "early_return": Column("bool", "flag", "split_lock_warn returned with detection still on"),
        "detection_off": Column(
            "bool", "flag", "detection was switched off: the instruction could be executed"
        ),
        "fatal": Column("bool", "flag", "ended by SIGBUS. None of the three: it is not known what happened"),
    },
    "exit": {
        "vector": Column("int64", "vector", "of the exception; -1: not an exit by one"),
        "name": Column("category", "name", "of the reason"),
        "split_lock": Column("bool", "flag", "by #AC: what a split lock looks like"),
    },
    "user_exit": {"name": Column("category", "name", "KVM_EXIT_..., or the error that KVM_RUN returned")},
    "stall": {"waited_ns": Column("int64", "ns", "how long: end_ns - ns")},
}
"""Columns that are computed from the records, by kind; they come after the fields of the record."""


@dataclass(frozen=True, slots=True)
class Part:
    """What of a record's field a column holds: all of it, one element of an array, or one bit of flags."""

    field: Field
    element: int | None = None
    bit: int | None = None

    @property
    def dtype(self) -> str:
        """The pandas type of the column, by name."""
        return "bool" if self.bit is not None else _dtype(self.field)

    @property
    def is_whole(self) -> bool:
        """Is it all of the field?"""
        return self.element is None and self.bit is None

    def of(self, values: np.ndarray[Any, Any], enums: Mapping[str, Enumeration]) -> Any:
        """The column, of its documented type, from the field's values; those may be of a narrower type."""
        if self.bit is not None:
            if self.bit > np.iinfo(values.dtype).max:
                return np.zeros(len(values), bool)
            return (values & values.dtype.type(self.bit)) != 0
        return _column(values if self.element is None else values[:, self.element], self.field, enums)

    def plain(self, values: np.ndarray[Any, Any], enums: Mapping[str, Enumeration]) -> list[Any]:
        """The same as values of Python, None for <NA>: for a few records, without the cost of pandas."""
        if self.bit is not None:
            bits: list[Any] = self.of(values, enums).tolist()
            return bits
        chosen, dtype = values if self.element is None else values[:, self.element], _dtype(self.field)
        listed: list[Any] = (chosen.astype(np.int64) if dtype in ("int64", "Int64") else chosen).tolist()
        if dtype == "text":
            return [comm(each) for each in listed]
        if dtype == "category":
            return [enums[str(self.field.enum)].name_of(each) for each in listed]
        if dtype == "Int64":
            return [None if each == self.field.not_known else each for each in listed]
        return listed


def parts(kind: str, schema: Schema | None = None) -> dict[str, Part]:
    """Where each column of `columns` comes from; raises SldtraceError for an unknown kind."""
    schema = schema or schemas.current()
    if kind not in schema.records:
        raise SldtraceError(f"there is no record kind {kind}", f"the kinds are: {', '.join(schema.records)}")
    result: dict[str, Part] = {}
    for field in schema.records[kind].fields:
        if field.is_array:
            result |= {f"{field.name}_{n}": Part(field, element=n) for n in range(field.dtype.shape[0])}
        else:
            result[field.name] = Part(field)
        if field.enum is not None and schema.enums[field.enum].is_flags:
            flags = schema.enums[field.enum].values
            result |= {name.lower(): Part(field, bit=bit) for name, bit in flags.items()}
    return result


def columns(kind: str, schema: Schema | None = None) -> dict[str, Column]:
    """What `frame` gives for that kind, in order; raises SldtraceError for an unknown kind.

    Every field of the record is a column of the same name:

    - times and everything else that is a number: `int64`, so that differences are signed;
    - addresses and MSR values: `uint64`;
    - numbers of which one value means "not known" (vcpu): `Int64`, with <NA> for it;
    - numbers that an enumeration names (kind, cause): `category` of lower-case names;
    - `char[N]`: `text` (object before pandas 3, str from then on), escaped to be safe to print;
    - an array (`u32[32]`): a column `name_0`, `name_1`, ... for each element.

    After a field of flags comes one `bool` column for each flag, in lower case (guest, slept, ...).
    """
    schema = schema or schemas.current()
    result: dict[str, Column] = {}
    for name, part in parts(kind, schema).items():
        if part.bit is not None:
            flag = schema.enums[str(part.field.enum)].meanings[name.upper()]
            result[name] = Column(part.dtype, "flag", flag)
        else:
            meaning = part.field.meaning.replace(f"{part.field.not_known}: not known", "<NA>: not known")
            result[name] = Column(part.dtype, part.field.unit, meaning)
    return result


def described(kind: str) -> dict[str, Column]:
    """`columns`, and those of DERIVED; raises SldtraceError for an unknown kind."""
    return columns(kind) | dict(DERIVED.get(kind, {}))


def _names(values: np.ndarray[Any, Any], enum: Enumeration) -> Any:
    # One look-up for each different value; values of a newer version get a category of their own.
    distinct, codes = np.unique(values, return_inverse=True)
    names = [enum.name_of(int(value)) for value in distinct]
    categories = list(dict.fromkeys([*(name.lower() for name in enum.values), *names]))
    positions = np.array([categories.index(name) for name in names], dtype=np.intp)
    return pd.Categorical.from_codes(positions[codes.reshape(-1)], categories=pd.Index(categories))


def _text(values: np.ndarray[Any, Any]) -> Any:
    distinct, codes = np.unique(values, return_inverse=True)
    texts = np.array([comm(bytes(value)) for value in distinct], dtype=object)
    return pd.Series(texts[codes.reshape(-1)], dtype=str)


def _column(values: np.ndarray[Any, Any], field: Field, enums: Mapping[str, Enumeration]) -> Any:
    dtype = _dtype(field)
    if dtype == "text":
        return _text(values)
    if dtype == "category":
        return _names(values, enums[str(field.enum)])
    if dtype == "Int64":
        return pd.arrays.IntegerArray(values.astype(np.int64), np.asarray(values == field.not_known))
    return values.astype(dtype)


def enumerations(recording: Timeline, schema: Schema) -> dict[str, Enumeration]:
    """What names the values in a recording: the enumerations of its own schema, and those of this version."""
    return {**schema.enums, **recording.schema.enums}


def name_of(recording: Timeline, enum: str, value: int) -> str:
    """The name of a value of an enumeration, in lower case as in the frames."""
    return enumerations(recording, schemas.current())[enum].name_of(value)


def frame(recording: Timeline, kind: str) -> pd.DataFrame:
    """All records of one kind in order of time, one row each, with the columns that `columns` documents.

    A field that only the file has (a newer version wrote it) follows as it is. Raises SldtraceError for
    an unknown kind; nothing recorded gives an empty frame with the same columns. All of them are in memory
    at once: see sldtrace.dataset.rows for kinds of which there may be millions.
    """
    return of(recording, kind, recording.records(kind))


def of(recording: Timeline, kind: str, records: Records) -> pd.DataFrame:
    """The same of these records of that kind only, in their order."""
    schema = schemas.current() if kind in schemas.current().records else recording.schema
    enums = enumerations(recording, schema)
    known = parts(kind, schema)
    data: dict[str, Any] = {name: part.of(records[part.field.name], enums) for name, part in known.items()}
    fields = {part.field.name for part in known.values()}
    for name in records.dtype.names or ():
        if name not in fields:
            data[name] = list(records[name]) if records[name].ndim > 1 else records[name].copy()
    return pd.DataFrame(data)


def _pair(facts: Mapping[str, Any] | None) -> tuple[int, int] | None:
    clock = (facts or {}).get("clock")
    if not isinstance(clock, dict):
        return None
    return _sound(clock.get("monotonic_ns"), clock.get("realtime_ns"))


def _sound(monotonic: Any, realtime: Any) -> tuple[int, int] | None:
    if not isinstance(monotonic, int) or not isinstance(realtime, int):
        return None
    sound = 0 <= monotonic < _CLOCK_END and 0 <= realtime < _CLOCK_END
    return (monotonic, realtime) if sound else None


def _steps(recording: Timeline) -> Iterator[tuple[int, int]]:
    for facts in (recording.facts, *recording.updates):
        steps = facts.get("clock_steps")
        for text, realtime in steps.items() if isinstance(steps, dict) else ():
            if text.isascii() and text.isdigit() and (pair := _sound(int(text[:20]), realtime)):
                yield pair


def wall_clock(recording: Timeline, times: pd.Series[int]) -> pd.Series[pd.Timestamp]:
    """CLOCK_MONOTONIC ns as UTC timestamps (datetime64[ns, UTC]), with the index of `times`.

    See wall_ns.
    """
    adjusted = wall_ns(recording, np.asarray(times, np.int64))
    return pd.Series(pd.to_datetime(adjusted, unit="ns", utc=True), index=times.index, name=times.name)


def wall_ns(recording: Timeline, times: Times) -> Times:
    """CLOCK_MONOTONIC ns as ns since 1970, UTC.

    The recorder notes both clocks when it begins, when it ends (facts and closing facts, `clock`), and before
    and after the clock is set (`clock_steps`); in between the offset is interpolated, so that a clock
    which is being slewed is followed. Outside the first and the last moment their offsets hold; with no
    moment at all SldtraceError.
    """
    moments = dict(_steps(recording))
    for pair in (_pair(recording.facts), _pair(recording.closing)):
        if pair is not None:
            moments[pair[0]] = pair[1]
    if not moments:
        raise SldtraceError(
            "the recording does not say what time it was", "use the times since boot (ns columns)"
        )
    known = sorted(moments)
    offset = moments[known[0]] - known[0]
    drift = [moments[moment] - moment - offset for moment in known]
    found: Times = times + offset + np.rint(np.interp(times, known, drift)).astype(np.int64)
    return found
