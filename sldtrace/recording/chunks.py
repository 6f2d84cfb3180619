"""The valid chunks of a file as columns: a file may have a million of them."""

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.recording.format import CHUNK_HEADER_SIZE, ChunkHeader

# The offset, then the fields of ChunkHeader in their order, but the number of the recording.
_ROW = (
    *(("offset", "Q"), ("sequence", "I"), ("type", "H"), ("kind", "H"), ("schema", "H"), ("flags", "H")),
    *(("count", "I"), ("size", "I"), ("stored", "I"), ("first_ns", "Q"), ("last_ns", "Q"), ("crc", "I")),
)
_BYTES = struct.Struct("<" + "".join(code for _, code in _ROW))
_DTYPE = np.dtype([(name, f"<{code}") for name, code in _ROW])
_BLOCK = 512  # rows that become objects at a time


@dataclass(frozen=True, slots=True)
class Chunk:
    """A valid chunk: its header, and the offset of the header in bytes."""

    header: ChunkHeader
    offset: int

    @property
    def payload(self) -> int:
        """Offset of the payload."""
        return self.offset + CHUNK_HEADER_SIZE

    @property
    def end(self) -> int:
        """Offset of the first byte after the chunk."""
        return self.payload + self.header.stored


class Chunks:
    """Chunks of one recording in file order; an object for a chunk exists only while it is used.

    recording: its number; rows: all chunks of the file; picked: indices of those that are meant.
    """

    def __init__(self, recording: int, rows: npt.NDArray[np.void], picked: npt.NDArray[np.uint32]) -> None:
        self.recording = recording
        self._rows = rows
        self._picked = picked

    def __len__(self) -> int:
        return len(self._picked)

    def __getitem__(self, number: int) -> Chunk:
        return self._chunk(self._rows[self._picked[number]].item())

    def __iter__(self) -> Iterator[Chunk]:
        for start in range(0, len(self), _BLOCK):
            for row in self._rows[self._picked[start : start + _BLOCK]].tolist():
                yield self._chunk(row)

    def _chunk(self, row: tuple[int, ...]) -> Chunk:
        return Chunk(ChunkHeader(self.recording, *row[1:]), row[0])

    def column(self, name: str) -> npt.NDArray[Any]:
        """`offset`, or a field of the headers, of all chunks."""
        found: npt.NDArray[Any] = self._rows[name][self._picked]
        return found

    def where(self, mask: npt.NDArray[np.bool_]) -> "Chunks":
        """Those for which the mask is true."""
        return Chunks(self.recording, self._rows, self._picked[mask])

    def having(self, name: str, values: Collection[int]) -> npt.NDArray[np.bool_]:
        """Of each chunk, whether that field of its header has one of a few values."""
        column = self.column(name)
        found = np.zeros(len(column), bool)
        for value in values:
            found |= column == value
        return found

    def number_at(self, offset: int) -> int:
        """The index of the chunk at that offset, which must be one of them."""
        offsets = self._rows["offset"]
        return bisect_left(self._picked, offset, key=lambda row: int(offsets[row]))


class ChunkList:
    """Collects chunks of one recording, in file order."""

    def __init__(self) -> None:
        self.recording = 0
        self._rows = bytearray()

    def append(self, chunk: Chunk) -> None:
        """Adds a chunk; the first one decides which recording it is."""
        header = chunk.header
        if not self._rows:
            self.recording = header.recording
        self._rows += _BYTES.pack(
            *(chunk.offset, header.sequence, header.type, header.kind, header.schema, header.flags),
            *(header.count, header.size, header.stored, header.first_ns, header.last_ns, header.crc),
        )

    def __len__(self) -> int:
        return len(self._rows) // _BYTES.size

    def chunks(self) -> Chunks:
        """What was collected; nothing can be added after that."""
        rows = np.frombuffer(self._rows, _DTYPE)
        return Chunks(self.recording, rows, np.arange(len(rows), dtype=np.uint32))


class SequenceNumbers:
    """The sequence numbers that were seen; of those in order, only where numbers are missing is kept."""

    def __init__(self) -> None:
        self.next = 0
        """One above the largest."""
        # Where numbers were missing when a larger one came: from `starts`, before `ends`.
        self._starts, self._ends = array("L"), array("L")
        self._late: set[int] = set()

    def has(self, number: int) -> bool:
        """Whether that number was added."""
        if number >= self.next:
            return False
        at = bisect_right(self._starts, number) - 1
        return at < 0 or number >= self._ends[at] or number in self._late

    def add(self, number: int) -> None:
        """Adds a number that was not added before."""
        if number < self.next:
            self._late.add(number)
            return
        if number > self.next:
            self._starts.append(self.next)
            self._ends.append(number)
        self.next = number + 1
