"""Messages of Protocol Buffers, many of one shape at once (protobuf.dev/programming-guides/encoding)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sldtrace.engine.tables import Array

Bytes = npt.NDArray[np.uint8]

VARINT, FIXED64, LENGTH = 0, 1, 2
"""Types on the wire."""


def varint(value: int) -> bytes:
    """The shortest form; negative numbers as 64 bits."""
    value &= (1 << 64) - 1
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def number(field: int, value: int) -> bytes:
    """A field that is an integer, a boolean or an enumeration."""
    return varint(field << 3 | VARINT) + varint(value)


def data(field: int, value: bytes | str) -> bytes:
    """A field that is a text, bytes or a message."""
    raw = value.encode("utf-8", "replace") if isinstance(value, str) else value
    return varint(field << 3 | LENGTH) + varint(len(raw)) + raw


@dataclass(frozen=True)
class Slot:
    """A field whose value differs from message to message. width: bytes of the value."""

    name: str
    field: int
    width: int
    type: int = VARINT

    @property
    def size(self) -> int:
        """Bytes of the whole field."""
        return len(varint(self.field << 3 | self.type)) + self.width


@dataclass(frozen=True)
class Message:
    """A field that is a message with slots in it."""

    field: int
    parts: Sequence["bytes | Slot | Message"]

    @property
    def size(self) -> int:
        """Bytes of the whole field."""
        inside = sum(_size(part) for part in self.parts)
        return len(varint(self.field << 3 | LENGTH)) + len(varint(inside)) + inside


def _size(part: "bytes | Slot | Message") -> int:
    return len(part) if isinstance(part, bytes) else part.size


class Template:
    """One message that is written many times, with other values in its slots."""

    def __init__(self, message: Message) -> None:
        self._slots: dict[str, tuple[int, Slot]] = {}
        self._bytes = np.frombuffer(self._write(message, 0), np.uint8)
        self.size = len(self._bytes)

    def fill(self, count: int, values: Mapping[str, Array]) -> Bytes:
        """One row for each message; values: of each slot, integers of at most 64 bits."""
        found: Bytes = np.tile(self._bytes, (count, 1))
        for name, (at, slot) in self._slots.items():
            each = values[name].astype(np.uint64)
            shape = _fixed(each) if slot.type == FIXED64 else _padded(each, slot.width)
            found[:, at : at + slot.width] = shape
        return found

    def _write(self, part: "bytes | Slot | Message", at: int) -> bytes:
        if isinstance(part, bytes):
            return part
        if isinstance(part, Slot):
            tag = varint(part.field << 3 | part.type)
            self._slots[part.name] = at + len(tag), part
            return tag + bytes(part.width)
        found = varint(part.field << 3 | LENGTH) + varint(sum(_size(each) for each in part.parts))
        for each in part.parts:
            found += self._write(each, at + len(found))
        return found


# Varints of the same length: the bytes that a number does not need are continuations of zero.
def _padded(values: npt.NDArray[np.uint64], width: int) -> Bytes:
    shifts = np.arange(width, dtype=np.uint64) * np.uint64(7)
    found = (values[:, None] >> shifts & np.uint64(0x7F)).astype(np.uint8)
    found[:, :-1] |= np.uint8(0x80)
    return found


def _fixed(values: npt.NDArray[np.uint64]) -> Bytes:
    return np.ascontiguousarray(values.astype("<u8")).view(np.uint8).reshape(-1, 8)
