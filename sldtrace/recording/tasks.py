"""The task records of a recording so far, in bounded memory, for files that need them again."""

import numpy as np
import numpy.typing as npt

from sldtrace.recording.layout import Record, Records

MAX_THREADS = 16_384
"""The newest task records are kept: four times as many as the probes follow threads (bpf/thread.bpf.c)."""


class KnownTasks:
    """The newest `task` record of each thread, and the chunk it is in. dropped: records above MAX_THREADS."""

    def __init__(self, record: Record) -> None:
        self._records: Records = np.empty(0, record.dtype)
        self._where: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._records)

    def update(self, records: Records, sequence: int) -> None:
        """Takes the records of the chunk with that sequence number; they replace earlier ones."""
        every = np.concatenate([self._records, records])
        where = np.concatenate([self._where, np.full(len(records), sequence)])
        _, last = np.unique(every["tid"][::-1], return_index=True)
        kept = np.sort(len(every) - 1 - last)
        self.dropped += max(0, len(kept) - MAX_THREADS)
        self._records, self._where = every[kept[-MAX_THREADS:]], where[kept[-MAX_THREADS:]]

    def written_before(self, sequence: int) -> Records:
        """The records whose chunk is before that one."""
        return self._records[self._where < sequence]

    def all(self) -> Records:
        """All records, the oldest first."""
        return self._records
