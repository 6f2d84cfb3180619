"""Finds the valid chunks of a recording, and the damage between them, without trusting any length."""

import contextlib
import io
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sldtrace.recording.chunks import Chunk, ChunkList, Chunks, SequenceNumbers
from sldtrace.recording.format import (
    CHUNK_HEADER_SIZE,
    CHUNK_MAGIC,
    FILE_HEADER_SIZE,
    MAX_PAYLOAD,
    Buffer,
    ChunkHeader,
    ChunkType,
    unpack_chunk_header,
    unpack_file_header,
)
from sldtrace.recording.sparse import next_data

MOST_DAMAGES = 1000
"""Places of damage that are kept, and not only counted."""
MOST_HEADERS = 100
"""Headers of lost chunks that are kept of each place."""

_BLOCK = 1 << 20
_SECTOR = 4096
# Two changes of a file can get one time: file systems take it from the clock of the last tick, or coarser.
_SAME_TIME_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of the file that is not readable, or chunks that are missing from it (`start == end`).

    start and end: offsets in bytes; chunks: how many chunks are lost there, None when nothing tells;
    headers: those lost chunks whose header is valid, the first MOST_HEADERS; more: how many follow these;
    cut: the file ends there before the last of them does; first: the sequence number that should have come
    next.
    """

    start: int
    end: int
    chunks: int | None
    headers: tuple[ChunkHeader, ...] = ()
    more: int = 0
    cut: bool = False
    first: int = 0

    def without(self, below: int) -> "Damage | None":
        """The same when chunks with a sequence number under `below` do not count; None if nothing is left."""
        if not self.chunks:
            return self
        left = max(0, self.first + self.chunks - max(self.first, below))
        headers = tuple(header for header in self.headers if header.sequence >= below)
        more = min(self.more, left)
        return replace(self, chunks=left, headers=headers, more=more) if left or headers else None


@dataclass(frozen=True, slots=True)
class Scan:
    """What a file holds.

    version: format version from the file header, None when it is damaged; chunks: the valid ones of the
    first recording; damages: the first MOST_DAMAGES places; more_damages: how many follow these; repeated:
    how many valid chunks have a sequence number that came before, the first at repeated_start; foreign: how
    many valid chunks of other recordings follow, the first at foreign_start.
    """

    size: int
    version: int | None
    chunks: Chunks
    damages: tuple[Damage, ...]
    more_damages: int
    repeated: int
    repeated_start: int | None
    foreign: int
    foreign_start: int | None

    @property
    def closed(self) -> bool:
        """Whether the end chunk is there."""
        return bool(np.any(self.chunks.column("type") == ChunkType.END))

    def without(self, below: int) -> "Scan":
        """The same without the chunks under that sequence number: nothing of them is there or missing."""
        damages = (damage.without(below) for damage in self.damages)
        return replace(
            self,
            chunks=self.chunks.where(self.chunks.column("sequence") >= below),
            damages=tuple(damage for damage in damages if damage is not None),
        )


class Source:
    """Bounded reads of an open file; what the device cannot read is missing, not an error."""

    def __init__(self, file: io.FileIO) -> None:
        self.file = file
        status = os.fstat(file.fileno())
        self.size = status.st_size
        old = time.time_ns() - status.st_mtime_ns > _SAME_TIME_NS
        self._modified_ns = status.st_mtime_ns if old else None
        self._verified = False
        self._buffer = bytearray()
        self._searched = (0, b"")

    def read(self, offset: int, length: int) -> memoryview:
        """Up to `length` bytes; valid until the next call."""
        length = max(0, min(length, self.size - offset))
        if len(self._buffer) < length:
            self._buffer = bytearray(length)
        view = memoryview(self._buffer)[:length]
        return view[: self.read_into(offset, view)]

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fills `target`; the number of bytes that could be read."""
        file = self.file.fileno()
        done = 0
        with contextlib.suppress(OSError):
            while done < len(target) and (count := os.preadv(file, [target[done:]], offset + done)):
                done += count
        return done

    def header(self, offset: int) -> ChunkHeader | None:
        """The chunk header at that offset, if a valid one is there."""
        return unpack_chunk_header(bytes(self.read(offset, CHUNK_HEADER_SIZE)))

    def version(self, offset: int) -> int | None:
        """The format version in the file header at that offset, if a valid one is there."""
        return unpack_file_header(bytes(self.read(offset, FILE_HEADER_SIZE)))

    def find_magic(self, offset: int) -> int:
        """Offset of the next chunk magic at or after `offset`; the size of the file if there is none."""
        while offset < self.size:
            start, block = self._searched
            if not start <= offset <= start + len(block) - len(CHUNK_MAGIC):
                offset = next_data(self.file.fileno(), offset, self.size)
                if offset >= self.size:
                    break
                start, block = self._searched = offset, bytes(self.read(offset, _BLOCK))
            found = block.find(CHUNK_MAGIC, offset - start)
            if found >= 0:
                return start + found
            if len(block) == min(_BLOCK, self.size - start):
                offset = start + max(1, len(block) - len(CHUNK_MAGIC) + 1)
            else:
                # The next sector after what could be read.
                offset = (start + len(block)) // _SECTOR * _SECTOR + _SECTOR
        return self.size

    def payload(self, chunk: Chunk) -> Buffer | None:
        """The stored payload, or None when it is cut or its CRC does not match; valid until the next call."""
        data = self.read(chunk.payload, chunk.header.stored)
        return data if self._sound(chunk, data) else None

    def payload_into(self, chunk: Chunk, target: memoryview) -> bool:
        """Reads the stored payload into `target`, of its size; False when `payload` would give None."""
        return self._sound(chunk, target[: self.read_into(chunk.payload, target)])

    def set_verified(self) -> None:
        """Checksums of chunks have been verified: not again, as long as the file is not modified."""
        self._verified = True

    def _sound(self, chunk: Chunk, data: memoryview) -> bool:
        if len(data) != chunk.header.stored:
            return False
        return self._is_unmodified() or zlib.crc32(data) == chunk.header.crc

    # After a read: since the checksums were verified.
    def _is_unmodified(self) -> bool:
        return self._verified and os.fstat(self.file.fileno()).st_mtime_ns == self._modified_ns


class _Scanner:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.chunks = ChunkList()
        self.damages: list[Damage] = []
        self.more_damages = 0
        self.sequence = SequenceNumbers()
        self.ended = False  # the last chunk is an end chunk
        self.repeated = 0
        self.repeated_start: int | None = None
        self.foreign = 0
        self.foreign_start: int | None = None
        self.bad_start: int | None = None
        self.bad_headers: list[ChunkHeader] = []
        self.more_headers = 0
        self.cut = False
        # Bytes of payloads that did not match may be read so often: headers may claim that chunks overlap.
        self.patience = 2 * source.size + MAX_PAYLOAD

    def close_damage(self, end: int, following: int | None) -> None:
        # Ends the damaged part, if there is one, before the valid chunk with the sequence number `following`.
        start = end if self.bad_start is None else self.bad_start
        first = self.sequence.next
        unknown = 0 if self.ended else None
        missing = unknown if following is None else max(0, following - first)
        if self.bad_start is not None or missing:
            if len(self.damages) < MOST_DAMAGES:
                headers = tuple(self.bad_headers)
                self.damages.append(Damage(start, end, missing, headers, self.more_headers, self.cut, first))
            else:
                self.more_damages += 1
        self.bad_start = None
        self.bad_headers = []
        self.more_headers = 0

    def add_bad_header(self, header: ChunkHeader) -> None:
        if len(self.bad_headers) < MOST_HEADERS:
            self.bad_headers.append(header)
        else:
            self.more_headers += 1

    def accept(self, chunk: Chunk) -> None:
        header = chunk.header
        foreign = bool(self.chunks) and header.recording != self.chunks.recording
        if not foreign and not self.sequence.has(header.sequence):
            self.close_damage(chunk.offset, header.sequence)
            self.sequence.add(header.sequence)
            self.chunks.append(chunk)
            self.ended = header.type == ChunkType.END
            return
        start = chunk.offset - FILE_HEADER_SIZE
        if start < 0 or self.source.version(start) is None:
            start = chunk.offset
        if self.bad_start == start:
            # Not damage: the file header of what was appended to this recording.
            self.bad_start = None
        if self.bad_start is not None:
            self.close_damage(start, None if foreign else self.sequence.next)
        if foreign:
            self.foreign += 1
            if self.foreign_start is None:
                self.foreign_start = start
        else:
            self.repeated += 1
            if self.repeated_start is None:
                self.repeated_start = start

    def step(self, at: int) -> int:
        # Handles what is at this offset; returns where to continue.
        source = self.source
        header = source.header(at)
        if header is None:
            if self.bad_start is None:
                self.bad_start = at
            return source.find_magic(at + 1)
        chunk = Chunk(header, at)
        if source.payload(chunk) is not None:
            self.accept(chunk)
            return chunk.end
        if self.bad_start is None:
            self.bad_start = at
        self.add_bad_header(header)
        self.patience -= min(header.stored, source.size - at)
        if self.patience < 0:
            return source.size
        # Not from its end on: where bytes were lost, valid chunks may lie before that.
        following = source.find_magic(chunk.payload)
        self.cut = following == source.size and chunk.end > source.size
        return following


def scan(source: Source, on_read: Callable[[int], object] = lambda _: None) -> Scan:
    """Reads the file once, verifying every checksum. on_read: called with numbers of bytes that were read.

    After damage it continues at the next chunk header with a valid checksum; a length
    is believed only from such a header, and only up to MAX_PAYLOAD. If chunks overlap so much that this would
    not be linear in the size of the file (no recorder writes that), it is damaged from there to its end.
    """
    scanner = _Scanner(source)
    version = source.version(0)
    at = 0
    if version is not None:
        at = FILE_HEADER_SIZE
    elif source.header(FILE_HEADER_SIZE) is not None:
        # Only the file header is damaged, which is not needed.
        at = FILE_HEADER_SIZE
    while at < source.size:
        following = scanner.step(at)
        on_read(following - at)
        at = following
    if scanner.bad_start is not None:
        scanner.close_damage(source.size, None)
    source.set_verified()
    return Scan(
        size=source.size,
        version=version,
        chunks=scanner.chunks.chunks(),
        damages=tuple(scanner.damages),
        more_damages=scanner.more_damages,
        repeated=scanner.repeated,
        repeated_start=scanner.repeated_start,
        foreign=scanner.foreign,
        foreign_start=scanner.foreign_start,
    )
