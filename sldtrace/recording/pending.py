"""A buffer of records of one kind that have not been written yet."""

import numpy as np

from sldtrace.recording.layout import Record, Records

CHUNK_BYTES = 256 << 10
"""Records of one kind are written when they fill this many bytes, or at a flush."""


class Pending:
    """A buffer for `capacity` records of one kind; memory is allocated for the first one."""

    def __init__(self, record: Record) -> None:
        self.capacity = CHUNK_BYTES // record.size
        self.count = 0
        self._dtype = record.dtype
        self._buffer: Records | None = None

    def add(self, records: Records) -> int:
        """Copies as many of the records as there is room for; returns how many."""
        if self._buffer is None:
            self._buffer = np.empty(self.capacity, self._dtype)
        taken = min(len(records), self.capacity - self.count)
        room, source = self._buffer[self.count : self.count + taken], records[:taken]
        if source.flags.c_contiguous:
            # As bytes: numpy copies a structured array field by field.
            room, source = room.view(np.uint8), source.view(np.uint8)
        room[:] = source
        self.count += taken
        return taken

    def drain(self) -> Records:
        """All buffered records; valid until the next call of `add`."""
        drained = np.empty(0, self._dtype) if self._buffer is None else self._buffer[: self.count]
        self.count = 0
        return drained
