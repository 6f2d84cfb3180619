"""A recording within a limit (--keep): which old chunks are discarded, and what is written again."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sldtrace.recording.discarded import Discarded
from sldtrace.recording.format import CHUNK_HEADER_SIZE, FILE_HEADER_SIZE, ChunkHeader, ChunkType
from sldtrace.recording.layout import Records, Schema
from sldtrace.recording.losses import lost_sums
from sldtrace.recording.tasks import KnownTasks

MIN_BYTES = 4 << 20
"""The smallest limit in bytes; below it the repeated facts would take much of it."""

_PARTS = 64  # part of the limit that is discarded at once
_MIN_PART = 64 << 10  # bytes


@dataclass(frozen=True)
class RetentionOptions:
    """What a recording keeps: the last `time_ns`, or the last `bytes` of the file, or the smaller of both.

    In time a little more is kept (up to a 64th, and at least 64 KiB), in bytes never.
    """

    time_ns: int | None = None
    bytes: int | None = None


@dataclass
class _Extent:
    # Consecutive chunks, which are discarded together.
    start: int
    begun_ns: int
    end: int = 0
    following: int = 0  # sequence number of the chunk after it
    written_ns: int = 0
    records: dict[str, int] = field(default_factory=dict)
    first_ns: int = 0
    last_ns: int = 0
    lost: dict[tuple[int, int, int], int] = field(default_factory=dict)


class Retention:
    """Follows the chunks of one recording; memory is bounded by the number of parts, threads and CPUs.

    account: what has been discarded; discarded: records by kind; boundary: the first byte that is kept;
    tasks: the threads with a task record.
    """

    def __init__(
        self, options: RetentionOptions, schema: Schema, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.account = Discarded(limit_ns=options.time_ns, limit_bytes=options.bytes)
        self.tasks = KnownTasks(schema.records["task"])
        self._detail: tuple[Records, int] | None = None
        self.discarded: dict[str, int] = dict.fromkeys(schema.records, 0)
        self.boundary = FILE_HEADER_SIZE
        self._options = options
        self._names = {record.number: record.name for record in schema.records.values()}
        self._clock = clock
        self._closed: deque[_Extent] = deque()
        self._open: _Extent | None = None
        self._dropped_names = 0

    def add_chunk(self, header: ChunkHeader, start: int, records: Records | None) -> None:
        """Takes a chunk that was written at byte `start`, and its records, if any."""
        now = self._clock()
        extent = self._open or _Extent(start, now)
        self._open = extent
        extent.end, extent.written_ns = start + CHUNK_HEADER_SIZE + header.stored, now
        extent.following = header.sequence + 1
        if header.type == ChunkType.RECORDS and records is not None:
            name = self._names[header.kind]
            if name == "detail":
                self._detail = records[-1:].copy(), header.sequence
            if name == "task":
                self.tasks.update(records, header.sequence)
            elif name == "lost":
                for key, count in lost_sums(records).items():
                    extent.lost[key] = extent.lost.get(key, 0) + count
            elif extent.first_ns or extent.last_ns:
                extent.first_ns = min(extent.first_ns, header.first_ns)
                extent.last_ns = max(extent.last_ns, header.last_ns)
            else:
                extent.first_ns, extent.last_ns = header.first_ns, header.last_ns
            extent.records[name] = extent.records.get(name, 0) + header.count
        self._close_full(now)

    def _close_full(self, now: int) -> None:
        extent, options = self._open, self._options
        if extent is None or (size := extent.end - extent.start) < _MIN_PART:
            return
        by_bytes = options.bytes is not None and size >= options.bytes // _PARTS
        by_time = options.time_ns is not None and now - extent.begun_ns >= options.time_ns // _PARTS
        if by_bytes or by_time:
            self._closed.append(extent)
            self._open = None

    def discard(self, end: int) -> bool:
        """Selects chunks to discard so that a file of `end` bytes is within the limit; False: none.

        It updates `account` and `boundary`. The caller writes records_to_repeat, then the account, and then
        frees the bytes, in this order: if the recorder is killed in between, every record is in the file or
        in the account.
        """
        due: list[_Extent] = []
        oldest = self.boundary
        now = self._clock()
        self._close_full(now)
        while self._closed:
            extent = self._closed[0]
            too_big = self._options.bytes is not None and end - oldest > self._options.bytes
            too_old = self._options.time_ns is not None and now - extent.written_ns > self._options.time_ns
            # An extent with facts only is discarded together with the one before.
            if not too_big and not too_old and not (due and not extent.records):
                break
            due.append(self._closed.popleft())
            oldest = extent.end
        if not due:
            return False
        for extent in due:
            self._count(extent)
        self.account.below = due[-1].following
        if len(self.records_to_repeat().get("detail", ())):
            self.account.records["detail"] -= 1  # it is written again
        self.boundary = oldest
        return True

    def records_to_repeat(self) -> dict[str, Records]:
        """Records in discarded chunks that are still needed: task records, and the level of detail."""
        below = self.account.below
        found = {"task": self.tasks.written_before(below)}
        if self._detail is not None:
            records, sequence = self._detail
            found["detail"] = records[: sequence < below]
        return found

    def _count(self, extent: _Extent) -> None:
        for name, count in extent.records.items():
            self.discarded[name] += count
            if name not in ("task", "lost"):
                self.account.add(name, count, extent.first_ns, extent.last_ns)
        for key, count in extent.lost.items():
            self.account.lost[key] = self.account.lost.get(key, 0) + count
        if self.tasks.dropped > self._dropped_names:
            names = self.account.records
            names["task"] = names.get("task", 0) + self.tasks.dropped - self._dropped_names
            self._dropped_names = self.tasks.dropped
