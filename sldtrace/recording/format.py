"""The bytes of a recording: file header, chunk header, payload; specified in docs/recording-format.md."""

import enum
import json
import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any

FORMAT_VERSION = 1
"""Version of the container; it rises only if an older reader can no longer find the chunks."""

MAX_PAYLOAD = 16 << 20
"""Largest payload in bytes, as stored and as decoded; bounds the effect of a damaged length."""

MAX_VALUES = 1 << 18
"""Most JSON values in one chunk, and in all updates of one file: those of 14,000 processes.

A value takes up to 125 bytes of memory, and as much again in an output, whatever it takes in the file.
"""

_FILE_MAGIC = b"\x93SLDTRC\n"
_FILE = struct.Struct("<8sI")
_CRC = struct.Struct("<I")
FILE_HEADER_SIZE = _FILE.size + _CRC.size

# Ends in FORMAT_VERSION: chunks of another format are never taken for ours. 0xF5 occurs in no UTF-8 text.
CHUNK_MAGIC = b"\xf5SLDchk" + bytes([FORMAT_VERSION])
_CHUNK = struct.Struct("<8sQQQIIIIHHHHI")
CHUNK_HEADER_SIZE = _CHUNK.size + _CRC.size

COMPRESSED = 1
"""Bit of `ChunkHeader.flags`: the payload is compressed. The other bits are set only with this one."""

ZSTD = 2
"""Bit of `ChunkHeader.flags`: compressed as a zstd frame (RFC 8878), not as a zlib stream (RFC 1950)."""

COLUMNS = 4
"""Bit of `ChunkHeader.flags`: what was compressed are the records as columns; see `columns`."""


Buffer = bytes | bytearray | memoryview
"""Bytes; a memoryview must be one of bytes."""


class ChunkType(enum.IntEnum):
    """Content of a chunk; readers skip and report unknown types."""

    OPENING = 1
    RECORDS = 2
    UPDATE = 3
    END = 4


class PayloadError(ValueError):
    """The payload of a chunk does not match its header."""


@dataclass(frozen=True, slots=True)
class ChunkHeader:
    """The header of one chunk.

    recording: random number of the recording; sequence: 0, 1, 2, ... in file order; type: a ChunkType;
    kind: number of the record kind, 0 for JSON; schema: version; count and size: records and bytes of
    each (JSON: one of its length); stored: bytes in the file; first_ns and last_ns: smallest and
    largest time of the records (CLOCK_MONOTONIC, JSON: 0); crc: CRC-32 of the stored bytes.
    """

    recording: int
    sequence: int
    type: int
    kind: int
    schema: int
    flags: int
    count: int
    size: int
    stored: int
    first_ns: int
    last_ns: int
    crc: int

    def pack(self) -> bytes:
        """The bytes of the header, its own CRC-32 last."""
        packed = _CHUNK.pack(
            CHUNK_MAGIC,
            self.recording,
            self.first_ns,
            self.last_ns,
            self.sequence,
            self.count,
            self.size,
            self.stored,
            self.type,
            self.kind,
            self.schema,
            self.flags,
            self.crc,
        )
        return packed + _CRC.pack(zlib.crc32(packed))


def unpack_chunk_header(data: bytes) -> ChunkHeader | None:
    """The header in these CHUNK_HEADER_SIZE bytes, or None when they are not a valid one."""
    if len(data) != CHUNK_HEADER_SIZE or not data.startswith(CHUNK_MAGIC):
        return None
    if _CRC.unpack_from(data, _CHUNK.size)[0] != zlib.crc32(data[: _CHUNK.size]):
        return None
    _, recording, first_ns, last_ns, sequence, count, size, stored, type_, kind, schema, flags, crc = (
        _CHUNK.unpack_from(data)
    )
    if stored > MAX_PAYLOAD or count * size > MAX_PAYLOAD:
        return None
    if not flags & COMPRESSED and stored != count * size:
        return None
    return ChunkHeader(
        recording, sequence, type_, kind, schema, flags, count, size, stored, first_ns, last_ns, crc
    )


def pack_file_header() -> bytes:
    """The first FILE_HEADER_SIZE bytes of a recording."""
    packed = _FILE.pack(_FILE_MAGIC, FORMAT_VERSION)
    return packed + _CRC.pack(zlib.crc32(packed))


def unpack_file_header(data: bytes) -> int | None:
    """The format version in these FILE_HEADER_SIZE bytes, or None when they are not a valid file header."""
    if len(data) != FILE_HEADER_SIZE or not data.startswith(_FILE_MAGIC):
        return None
    if _CRC.unpack_from(data, _FILE.size)[0] != zlib.crc32(data[: _FILE.size]):
        return None
    version: int = _FILE.unpack_from(data)[1]
    return version


def pack_json(value: dict[str, Any]) -> bytes:
    """A JSON payload; raises TypeError or ValueError for what is not plain JSON (NaN is not)."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def count_values(payload: bytes) -> int:
    """At least as many values as are in this JSON, without parsing it."""
    return 1 + sum(payload.count(each) for each in (b",", b"[", b"{"))


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def unpack_json(payload: Buffer) -> dict[str, Any]:
    """The JSON object in a payload; raises PayloadError for anything else, and for more than MAX_VALUES.

    NaN, Infinity, and numbers too large for a double become None: they are not JSON when they are printed.
    """
    payload = bytes(payload)
    if count_values(payload) > MAX_VALUES:
        raise PayloadError(f"has more than {MAX_VALUES} values")
    try:
        value = json.loads(payload, parse_constant=lambda _: None, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise PayloadError("holds no JSON") from error
    if not isinstance(value, dict):
        raise PayloadError("holds no JSON object")
    return value
