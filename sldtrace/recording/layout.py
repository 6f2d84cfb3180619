"""Layout of records: fields, records, enumerations, schema, and their rules."""

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[np.void]
"""A numpy structured array: one element per record."""

SCALARS = {
    "u8": "<u1",
    "u16": "<u2",
    "u32": "<u4",
    "u64": "<u8",
    "s8": "<i1",
    "s16": "<i2",
    "s32": "<i4",
    "s64": "<i8",
}
"""Types of a field, and the numpy type of each. Others: `char[N]` (N bytes), and arrays such as `u32[32]`."""

_CHARS = re.compile(r"char\[([1-9][0-9]{0,3})\]")
_ARRAY = re.compile(r"([us][0-9]{1,2})\[([1-9][0-9]{0,3})\]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_NOT_KNOWN = re.compile(r"(-?[0-9]+): not known\b")


def concatenate(parts: Sequence[Records]) -> Records:
    """The records of all parts, at least one, which have one dtype, as a new array.

    Whole: numpy's own concatenation, `copy` and indexing by an array copy records field by field, which takes
    ten times as long; `take` and `compress` do not.
    """
    whole = np.dtype((np.void, parts[0].dtype.itemsize))
    found: Records = np.concatenate([each.view(whole) for each in parts]).view(parts[0].dtype)
    return found


class LayoutError(ValueError):
    """A description that violates the rules of records; the message has the place."""


def _check_name(name: str, what: str) -> None:
    if not _NAME.fullmatch(name):
        raise LayoutError(f"{what} has no usable name: {name!r}")


@dataclass(frozen=True)
class Field:
    """One field of a record.

    `type` is a key of SCALARS, `char[N]`, or an array of scalars; `offset` is in bytes, `enum` names the
    enumeration
    that the values are taken from, if any.
    """

    name: str
    type: str
    offset: int
    unit: str
    meaning: str
    enum: str | None = None

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type; raises LayoutError when there is none."""
        if self.type in SCALARS:
            return np.dtype(SCALARS[self.type])
        if chars := _CHARS.fullmatch(self.type):
            return np.dtype(f"S{chars[1]}")
        if (array := _ARRAY.fullmatch(self.type)) and array[1] in SCALARS:
            return np.dtype((SCALARS[array[1]], (int(array[2]),)))
        raise LayoutError(f"field {self.name} has type {self.type!r}, which no record may have")

    @property
    def alignment(self) -> int:
        """Natural alignment in bytes."""
        return 1 if self.type.startswith("char") else self.dtype.base.itemsize

    @property
    def is_array(self) -> bool:
        """Whether it holds several numbers."""
        return self.dtype.shape != ()

    @property
    def not_known(self) -> int | None:
        """The value that stands for "not known", where the meaning declares one ("-1: not known")."""
        found = _NOT_KNOWN.search(self.meaning)
        return int(found[1]) if found else None

    @property
    def default(self) -> int | bytes:
        """The value for records of a version without this field: `not_known`, else zero."""
        if self.type.startswith("char"):
            return b""
        return self.not_known or 0


@dataclass(frozen=True)
class Record:
    """One kind of record; raises LayoutError when its fields break the rules.

    The rules: fields lie in order, naturally aligned and without a gap, the size is a multiple of
    8, names are unique, and the first field is the time of the record (u64, CLOCK_MONOTONIC ns).
    """

    name: str
    number: int
    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        _check_name(self.name, "a record")
        where = f"record {self.name}"
        if not 0 < self.number < 1 << 16:
            raise LayoutError(f"{where}: its number {self.number} does not fit 16 bits")
        if not self.fields or (self.fields[0].type, self.fields[0].unit) != ("u64", "ns"):
            raise LayoutError(f"{where}: the first field must be its time, a u64 in ns")
        end = 0
        for field in self.fields:
            _check_name(field.name, f"{where}: a field")
            if field.offset % field.alignment:
                raise LayoutError(
                    f"{where}: field {field.name} is not naturally aligned (byte {field.offset})"
                )
            if field.offset != end:
                raise LayoutError(f"{where}: field {field.name} begins at {field.offset}, not at {end}")
            end += field.dtype.itemsize
        if end % 8:
            raise LayoutError(f"{where}: its size {end} is not a multiple of 8")
        if len({field.name for field in self.fields}) != len(self.fields):
            raise LayoutError(f"{where}: two fields have the same name")

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """The numpy structured type: packed, little-endian, the bytes as the kernel wrote them."""
        return np.dtype([(field.name, field.dtype) for field in self.fields])

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.dtype.itemsize

    @property
    def time_field(self) -> str:
        """Name of the field that records are ordered by."""
        return self.fields[0].name

    def field(self, name: str) -> Field:
        """The field of that name; raises KeyError."""
        return {field.name: field for field in self.fields}[name]


@dataclass(frozen=True)
class Enumeration:
    """Named values, in the order of their declaration; `meanings` has the same keys."""

    name: str
    values: Mapping[str, int]
    meanings: Mapping[str, str]

    @property
    def is_flags(self) -> bool:
        """Whether the values are bits of a mask."""
        return self.name.endswith("_flags")

    @cached_property
    def type(self) -> type[enum.IntEnum] | type[enum.IntFlag]:
        """The values as an IntFlag (for flags) or IntEnum class."""
        members = dict(self.values)
        made: Any = enum.IntFlag(self.name, members) if self.is_flags else enum.IntEnum(self.name, members)
        return cast(type[enum.IntEnum] | type[enum.IntFlag], made)

    def name_of(self, value: int) -> str:
        """The name of a value in lower case, or `unknown-N` for a value that a newer version added."""
        names = {number: name.lower() for name, number in self.values.items()}
        return names.get(value, f"unknown-{value}")


@dataclass(frozen=True)
class Schema:
    """All records and enumerations of one version; raises LayoutError when they do not fit together."""

    version: int
    records: Mapping[str, Record]
    enums: Mapping[str, Enumeration]

    def __post_init__(self) -> None:
        if not 0 < self.version < 1 << 16:
            raise LayoutError(f"schema version {self.version} does not fit 16 bits")
        numbers = [record.number for record in self.records.values()]
        if len(set(numbers)) != len(numbers):
            raise LayoutError("two records have the same number")
        for record in self.records.values():
            for field in record.fields:
                if field.enum is not None and field.enum not in self.enums:
                    raise LayoutError(f"record {record.name}: field {field.name} needs enum {field.enum}")
        for each in self.enums.values():
            if len(set(each.values.values())) != len(each.values):
                raise LayoutError(f"enum {each.name}: two names have the same value")

    @cached_property
    def by_number(self) -> Mapping[int, Record]:
        """The records by the number that stands in a chunk header."""
        return {record.number: record for record in self.records.values()}

    def record(self, kind: str | int) -> Record:
        """The record of that name or number; raises KeyError."""
        return self.records[kind] if isinstance(kind, str) else self.by_number[kind]

    def to_json(self) -> dict[str, Any]:
        """The description that a recording carries; `from_json` is its inverse."""
        return {
            "version": self.version,
            "records": [
                {
                    "name": record.name,
                    "number": record.number,
                    "fields": [
                        {
                            "name": field.name,
                            "type": field.type,
                            "offset": field.offset,
                            "unit": field.unit,
                            "meaning": field.meaning,
                            **({"enum": field.enum} if field.enum else {}),
                        }
                        for field in record.fields
                    ],
                }
                for record in self.records.values()
            ],
            "enums": [
                {
                    "name": each.name,
                    "members": [
                        {"name": name, "value": value, "meaning": each.meanings[name]}
                        for name, value in each.values.items()
                    ],
                }
                for each in self.enums.values()
            ],
        }


def _typed(data: Any, key: str, kind: type) -> Any:
    value = data[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise LayoutError(f"{key!r} is not of type {kind.__name__}")
    return value


def _record(data: Any) -> Record:
    fields = tuple(
        Field(
            name=_typed(each, "name", str),
            type=_typed(each, "type", str),
            offset=_typed(each, "offset", int),
            unit=_typed(each, "unit", str),
            meaning=_typed(each, "meaning", str),
            enum=_typed(each, "enum", str) if "enum" in each else None,
        )
        for each in _typed(data, "fields", list)
    )
    return Record(_typed(data, "name", str), _typed(data, "number", int), fields)


def _enumeration(data: Any) -> Enumeration:
    members = _typed(data, "members", list)
    values = {_typed(each, "name", str): _typed(each, "value", int) for each in members}
    meanings = {_typed(each, "name", str): _typed(each, "meaning", str) for each in members}
    return Enumeration(_typed(data, "name", str), values, meanings)


def from_json(data: Any) -> Schema:
    """The schema that `Schema.to_json` described; raises LayoutError for anything else."""
    try:
        records = [_record(each) for each in _typed(data, "records", list)]
        enums = [_enumeration(each) for each in _typed(data, "enums", list)]
        return Schema(
            version=_typed(data, "version", int),
            records={record.name: record for record in records},
            enums={each.name: each for each in enums},
        )
    except (KeyError, TypeError) as error:
        raise LayoutError(f"not a description of records: {error}") from error
