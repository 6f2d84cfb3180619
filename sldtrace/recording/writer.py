"""Writes a recording: buffers records by kind and appends whole chunks, so that any prefix is readable."""

import contextlib
import errno
import os
import secrets
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sldtrace.errors import SldtraceError
from sldtrace.recording import schema as schemas
from sldtrace.recording import sparse
from sldtrace.recording.compacting import compact
from sldtrace.recording.encoding import Encoder, encode_text
from sldtrace.recording.format import (
    CHUNK_HEADER_SIZE,
    FILE_HEADER_SIZE,
    MAX_PAYLOAD,
    Buffer,
    ChunkHeader,
    ChunkType,
    pack_file_header,
    pack_json,
)
from sldtrace.recording.layout import Record, Records, Schema
from sldtrace.recording.merging import merge, newest
from sldtrace.recording.pending import Pending
from sldtrace.recording.retention import Retention, RetentionOptions
from sldtrace.recording.target import create, shown

REPEAT_BYTES = 16 << 20
"""The facts are repeated after this many bytes."""

_REPEATED_BYTES = 1 << 20  # of facts and schema, before compression
_LARGEST_BLOCK = 1 << 20  # of a file system, in bytes; ZFS has the largest
REPEATED_ENTRIES = 4096
"""Repeated facts have at most this many entries of a group, the newest ones (processes)."""


class Writer:
    """One recording being written; not thread-safe.

    Creates the file (see `target.create`) and writes the opening facts, a plain JSON object. Each chunk is
    written by one system call and readable from then on, even if the recorder is killed; only `close` waits
    for the disk. `compress` and `encoder`, which says how, may be changed at any time. With `retention` the
    oldest chunks are discarded to keep to the limit, and `close` rewrites the file without the holes that
    they leave; if it cannot, `warning` is a line that says why. `schema` and `recording_id` are for tests and
    simulations, `clock` (ns) for tests.

    Methods raise SldtraceError when the file can no longer be written (disk full, I/O error, file
    deleted). After that the writer accepts no records, but `close` still tries to write the closing facts.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        facts: Mapping[str, Any],
        force: bool = False,
        *,
        compress: bool = True,
        encoder: Encoder | None = None,
        schema: Schema | None = None,
        recording_id: int | None = None,
        retention: RetentionOptions | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.path = Path(path)
        self.warning: str | None = None
        self.compress = compress
        self.encoder = encoder or Encoder()
        self._schema = schema or schemas.current()
        self._id = secrets.randbits(64) if recording_id is None else recording_id
        self._sequence = 0
        self._pending = {name: Pending(record) for name, record in self._schema.records.items()}
        self._written = dict.fromkeys(self._schema.records, 0)
        self._unwritten = dict.fromkeys(self._schema.records, 0)
        self._failure: SldtraceError | None = None
        self._facts: dict[str, Any] = dict(facts)
        self._retention = Retention(retention, self._schema, clock) if retention else None
        if retention:
            sparse.require(self.path.parent)
        header, payload = self._json_chunk(ChunkType.OPENING, pack_json(self._description()))
        start = pack_file_header() + header.pack() + payload
        self._file: int | None = create(self.path, force, start)
        self._sequence = 1
        self._end = self._repeated_at = len(start)
        self._opening_bytes = len(start)
        if self._retention:
            self._retention.add_chunk(header, FILE_HEADER_SIZE, None)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self.close({"reason": "abandoned"})

    @property
    def size(self) -> int:
        """Bytes in the file, without discarded chunks and buffered records."""
        return self._end - (self._retention.boundary - FILE_HEADER_SIZE if self._retention else 0)

    @property
    def written(self) -> Mapping[str, int]:
        """Records in the file by kind, without discarded and buffered ones."""
        discarded = self._retention.discarded if self._retention else {}
        return {name: count - discarded.get(name, 0) for name, count in self._written.items()}

    def append(self, kind: str | int, records: Records) -> None:
        """Adds records of one kind; they are in the file after the next `flush` at the latest.

        `records` has the dtype of the schema and is copied or written on return. Raises KeyError for an
        unknown kind and ValueError for another dtype.
        """
        record = self._schema.record(kind)
        if records.dtype != record.dtype:
            raise ValueError(
                f"records of kind {record.name} must have dtype {record.dtype}, not {records.dtype}"
            )
        pending = self._pending[record.name]
        taken = 0
        try:
            self._check()
            while taken < len(records):
                rest = records[taken:]
                if not pending.count and len(rest) >= pending.capacity and rest.flags.c_contiguous:
                    taken += pending.capacity
                    self._write_records(record, rest[: pending.capacity])
                    continue
                taken += pending.add(rest)
                if pending.count == pending.capacity:
                    self._write_records(record, pending.drain())
        except SldtraceError:
            self._unwritten[record.name] += len(records) - taken
            raise

    def facts_update(self, facts: Mapping[str, Any]) -> None:
        """Writes facts that are new or have changed, after all records appended before."""
        self.flush()
        text = pack_json({"facts": dict(facts)})
        if self._retention:
            self._facts = newest(merge(self._facts, facts), REPEATED_ENTRIES)
        self._write_json(ChunkType.UPDATE, text)

    def flush(self) -> None:
        """Writes buffered records; raises SldtraceError also if the file was deleted."""
        self._check()
        for name, pending in self._pending.items():
            if pending.count:
                self._write_records(self._schema.records[name], pending.drain())
        self._discard(0)
        if self._file is not None and os.fstat(self._file).st_nlink == 0:
            self._fail(
                f"{shown(self.path)} was deleted during the recording", hint="it is lost: record again"
            )

    def close(self, closing: Mapping[str, Any]) -> None:
        """Writes buffered records and the closing facts, waits for the disk, closes the file; once only.

        The end chunk has the number of records written by kind, and after a failure the number not
        written. Raises SldtraceError unless a failure was raised before.
        """
        if self._file is None:
            return
        failed_before = self._failure is not None
        try:
            with contextlib.suppress(SldtraceError):
                self.flush()
            self._write_end(closing)
            try:
                os.fsync(self._file)
            except OSError as error:
                if error.errno != errno.EINVAL:  # a pipe, of standard output
                    self._fail(f"cannot write {shown(self.path)}: {error.strerror}", error)
            if self._retention and self._retention.boundary > FILE_HEADER_SIZE:
                self.warning = compact(
                    self.path, self._file, FILE_HEADER_SIZE, self._retention.boundary, self._end
                )
        except SldtraceError:
            pass
        finally:
            os.close(self._file)
            self._file = None
        if self._failure is not None and not failed_before:
            raise self._failure

    def _write_end(self, closing: Mapping[str, Any]) -> None:
        end: dict[str, Any] = {"closing": dict(closing), "written": self.written}
        if self._failure is not None:
            for name, pending in self._pending.items():
                self._unwritten[name] += len(pending.drain())
            end |= {"unwritten": self._unwritten, "failure": self._failure.message}
        self._write_json(ChunkType.END, pack_json(end | self._description()))

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._file is None:
            raise ValueError("the recording is closed")

    def _fail(
        self,
        message: str,
        cause: BaseException | None = None,
        hint: str = "what was recorded before is readable",
    ) -> None:
        self._failure = SldtraceError(message, hint)
        raise self._failure from cause

    def _description(self) -> dict[str, Any]:
        # Facts, schema and account of discarded chunks. Update chunks may be discarded, so with a limit the
        # facts include the updates, of large groups only the newest entries.
        facts, entries = self._facts, REPEATED_ENTRIES
        while entries > 1 and len(pack_json(facts)) > _REPEATED_BYTES:
            entries //= 2
            facts = newest(facts, entries)
        description = {"facts": facts, "schema": self._schema.to_json()}
        if self._retention and self._retention.account.below:
            description["discarded"] = self._retention.account.to_json()
        return description

    def _repeat(self) -> None:
        before = self._repeated_at = self._end
        self._write_json(ChunkType.OPENING, pack_json(self._description()))
        self._opening_bytes = self._end - before

    def _discard(self, incoming: int) -> None:
        # Makes room for `incoming` bytes; see Retention.discard for the order.
        retention = self._retention
        if retention is None or self._file is None:
            return
        before = retention.boundary
        reserve = self._opening_bytes + len(retention.tasks) * self._schema.records["task"].size
        if not retention.discard(self._end + incoming + reserve):
            return
        for kind, records in retention.records_to_repeat().items():
            step = self._pending[kind].capacity
            for start in range(0, len(records), step):
                self._write_chunk(self._schema.records[kind], records[start : start + step])
        self._repeat()
        try:
            # The last hole may have ended within a block, which is freed only if it is wholly in a hole.
            sparse.punch(self._file, max(FILE_HEADER_SIZE, before - _LARGEST_BLOCK), retention.boundary)
        except OSError as error:
            self._fail(f"cannot free parts of {shown(self.path)}: {error.strerror}", error)

    def _write_records(self, record: Record, records: Records) -> None:
        try:
            self._discard(CHUNK_HEADER_SIZE + records.nbytes)
        except SldtraceError:
            self._unwritten[record.name] += len(records)
            raise
        self._write_chunk(record, records)
        if self._end - self._repeated_at >= REPEAT_BYTES:
            self._repeat()

    def _write_chunk(self, record: Record, records: Records) -> None:
        times = records[record.time_field]
        first_ns, last_ns = int(times.min()), int(times.max())
        payload: Buffer = records.view(np.uint8).data
        flags = 0
        if self.compress:
            payload, flags = self.encoder.records(record, records, first_ns)
        header = ChunkHeader(
            recording=self._id,
            sequence=self._sequence,
            type=ChunkType.RECORDS,
            kind=record.number,
            schema=self._schema.version,
            flags=flags,
            count=len(records),
            size=record.size,
            stored=len(payload),
            first_ns=first_ns,
            last_ns=last_ns,
            crc=zlib.crc32(payload),
        )
        try:
            self._write(header, payload, records)
        except SldtraceError:
            self._unwritten[record.name] += len(records)
            raise
        self._written[record.name] += len(records)

    def _json_chunk(self, type_: ChunkType, text: bytes) -> tuple[ChunkHeader, Buffer]:
        if len(text) > MAX_PAYLOAD:
            raise ValueError(f"facts of {len(text)} bytes are more than a chunk holds")
        payload, flags = encode_text(text) if self.compress else (text, 0)
        header = ChunkHeader(
            recording=self._id,
            sequence=self._sequence,
            type=type_,
            kind=0,
            schema=self._schema.version,
            flags=flags,
            count=1,
            size=len(text),
            stored=len(payload),
            first_ns=0,
            last_ns=0,
            crc=zlib.crc32(payload),
        )
        return header, payload

    def _write_json(self, type_: ChunkType, text: bytes) -> None:
        self._write(*self._json_chunk(type_, text))

    def _write(self, header: ChunkHeader, payload: Buffer, records: Records | None = None) -> None:
        # All or nothing: a chunk that does not fit is truncated.
        if self._file is None:
            raise ValueError("the recording is closed")
        head = header.pack()
        try:
            done = os.writev(self._file, [head, payload])
            while done < len(head) + len(payload):
                left: list[Buffer] = [head[done:], memoryview(payload)[max(0, done - len(head)) :]]
                done += os.writev(self._file, left)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            if isinstance(error, OSError):
                self._fail(f"cannot write {shown(self.path)}: {error.strerror}", error)
            raise
        start = self._end
        self._end += len(head) + len(payload)
        self._sequence += 1
        if self._retention:
            self._retention.add_chunk(header, start, records)
