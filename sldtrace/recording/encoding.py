"""How the payload of a chunk is stored: as it is or compressed, records as columns; and back."""

import enum
import zlib
from functools import cache
from types import ModuleType
from typing import Protocol

import numpy as np

from sldtrace.recording import columns
from sldtrace.recording.format import (
    COLUMNS,
    COMPRESSED,
    MAX_PAYLOAD,
    ZSTD,
    Buffer,
    ChunkHeader,
    PayloadError,
)
from sldtrace.recording.layout import Record, Records

ZSTD_HINT = "install python3-zstandard (or zstandard, from PyPI)"
"""What to do on a host that lacks zstd."""

_RECORDS_LEVEL = 1  # of zlib and zstd
_TEXT_LEVEL = 6
_SMALLEST = 1024  # bytes of records that are worth the time

_CANNOT = "cannot be decompressed"
_ANOTHER_SIZE = "decompresses to another size than announced"


class Codec(enum.Enum):
    """What compresses records."""

    ZLIB = "zlib"
    ZSTD = "zstd"


class Compressor(Protocol):
    """Compresses one payload after the other."""

    def compress(self, data: Buffer, /) -> bytes:
        """One zlib stream (RFC 1950), or one zstd frame (RFC 8878) that says its size."""


class _Zlib:
    def compress(self, data: Buffer, /) -> bytes:
        return zlib.compress(data, _RECORDS_LEVEL)


@cache
def _zstandard() -> ModuleType | None:
    # Imported when it is first needed, because it is optional.
    try:
        import zstandard
    except ImportError:
        return None
    module: ModuleType = zstandard
    return module


def best_codec() -> Codec:
    """zstd where the package zstandard is installed, else zlib."""
    return Codec.ZLIB if _zstandard() is None else Codec.ZSTD


class Encoder:
    """Encodes the payloads of one recording; not thread-safe, because it uses its memory again.

    codec: None for `best_codec`. Raises ValueError for one that this host lacks.
    """

    def __init__(self, codec: Codec | None = None) -> None:
        self.codec = codec or best_codec()
        self._numbers: dict[int, list[int]] = {}
        self._workspace = columns.Workspace()
        self._compressor: Compressor = _Zlib()
        self._flags = COMPRESSED | COLUMNS
        if self.codec is Codec.ZSTD:
            zstandard = _zstandard()
            if zstandard is None:
                raise ValueError(f"zstd cannot be written here: {ZSTD_HINT}")
            self._compressor = zstandard.ZstdCompressor(level=_RECORDS_LEVEL)
            self._flags |= ZSTD

    def records(self, record: Record, records: Records, start_ns: int) -> tuple[Buffer, int]:
        """One record or more as they are to be stored, and the flags that say how.

        start_ns: the smallest time. Compressed only where that saves at least an eighth. The result may share
        the memory of `records`.
        """
        number = self._numbers.get(record.number)
        if number is None:
            number = self._numbers[record.number] = columns.numbers(record)
        if records.nbytes < _SMALLEST:
            return records.view(np.uint8).data, 0
        packed = self._compressor.compress(columns.split(records, number, start_ns, self._workspace))
        if len(packed) <= records.nbytes * 7 // 8:
            return packed, self._flags
        return records.view(np.uint8).data, 0


def encode_text(text: bytes) -> tuple[bytes, int]:
    """JSON as it is to be stored, and the flags: never zstd, so that every reader can read the facts."""
    packed = zlib.compress(text, _TEXT_LEVEL)
    if len(packed) <= len(text) * 7 // 8:
        return packed, COMPRESSED
    return text, 0


def unreadable_flags() -> int:
    """The flags of chunks that this host cannot decompress: ZSTD, or 0 for none."""
    return ZSTD if _zstandard() is None else 0


def decode_text(header: ChunkHeader, stored: Buffer) -> Buffer:
    """The JSON of a chunk whose CRC matched; raises PayloadError if the payload does not match the header."""
    return _payload(header, stored, COMPRESSED | ZSTD)


class Decoder:
    """Decodes records of chunks whose CRC matched; not thread-safe, because it uses its memory again."""

    def __init__(self) -> None:
        self._workspace = columns.Workspace()

    def records(self, header: ChunkHeader, stored: Buffer, target: Records) -> None:
        """Fills `target`, as many records of that size as the header says.

        Raises PayloadError if the payload does not match the header; `target` then holds anything.
        """
        payload = _payload(header, stored, COMPRESSED | ZSTD | COLUMNS)
        if not header.flags & COLUMNS:
            target.view(np.uint8).data[:] = payload
        elif not columns.join(bytes(payload), header.first_ns, target, self._workspace):
            raise PayloadError("decompresses to other columns than announced")


def _payload(header: ChunkHeader, stored: Buffer, known: int) -> Buffer:
    # Decompressed. The bytes of columns are fewer than those of the records, or a head more.
    if header.flags & ~known or (header.flags and not header.flags & COMPRESSED):
        raise PayloadError(f"has unknown flags {header.flags:#x}")
    if not header.flags:
        return stored
    size = header.count * header.size
    most = size + columns.head_size(header.size) if header.flags & COLUMNS else size
    payload = _zstd(stored, most) if header.flags & ZSTD else _zlib(stored, most)
    if len(payload) > most or (len(payload) < size and not header.flags & COLUMNS):
        raise PayloadError(_ANOTHER_SIZE)
    return payload


# Whatever a stream or frame claims to hold, little more than `most` bytes are allocated.
def _zlib(stored: Buffer, most: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        payload = stream.decompress(stored, most + 1)
    except zlib.error as error:
        raise PayloadError(_CANNOT) from error
    if not stream.eof or stream.unused_data:
        raise PayloadError(_ANOTHER_SIZE)
    return payload


def _zstd(stored: Buffer, most: int) -> bytes:
    zstandard = _zstandard()
    if zstandard is None:
        raise PayloadError(f"is compressed by zstd: {ZSTD_HINT}")
    try:
        if not 0 <= zstandard.frame_content_size(stored) <= most:
            raise PayloadError(_ANOTHER_SIZE)
        decompressor = zstandard.ZstdDecompressor(max_window_size=2 * MAX_PAYLOAD)
        payload: bytes = decompressor.decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise PayloadError(_CANNOT) from error
    return payload
