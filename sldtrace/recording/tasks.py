"""The threads that a recorder has named so far, in bounded memory: for files that must name them again."""

import numpy as np
import numpy.typing as npt

from sldtrace.recording.layout import Record, Records

MOST = 16_384
"""So many threads are remembered, the latest ones: as many as the probes follow (bpf/thread.bpf.c)."""


class KnownTasks:
    """The newest `task` record of each thread, and where it was written last."""

    def __init__(self, record: Record) -> None:
        self._records: Records = np.empty(0, record.dtype)
        self._where: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._records)

    def note(self, records: Records, sequence: int) -> None:
        """These records are in the chunk with that sequence number; later ones replace those before."""
        every = np.concatenate([self._records, records])
        where = np.concatenate([self._where, np.full(len(records), sequence)])
        _, last = np.unique(every["tid"][::-1], return_index=True)
        kept = np.sort(len(every) - 1 - last)
        self.forgotten += max(0, len(kept) - MOST)
        self._records, self._where = every[kept[-MOST:]], where[kept[-MOST:]]

    def written_before(self, sequence: int) -> Records:
        """Those whose newest record is in a chunk before that one."""
        return self._records[self._where < sequence]

    def every(self) -> Records:
        """All of them, the longest known first."""
        return self._records
