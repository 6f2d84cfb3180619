"""Writes a recording: buffers records by kind, appends whole chunks, is readable wherever it ends."""

import contextlib
import os
import secrets
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sldtrace.errors import SldtraceError
from sldtrace.recording import schema as schemas
from sldtrace.recording.format import (
    MAX_PAYLOAD,
    Buffer,
    ChunkHeader,
    ChunkType,
    encode,
    pack_file_header,
    pack_json,
)
from sldtrace.recording.layout import Record, Records, Schema
from sldtrace.recording.target import create, shown

CHUNK_BYTES = 256 << 10
"""Records of one kind are written when they fill this many bytes, or at a flush: what one damage can cost."""

REPEAT_BYTES = 16 << 20
"""The opening facts are repeated whenever the file has grown by this many bytes."""


class Writer:
    """One recording being written; not thread-safe.

    Creates the file (see `target.create`) and writes the opening facts, a plain JSON object, at once.
    Every chunk reaches the kernel in one write and is readable from then on, also when the recorder is
    killed; `close` alone waits for the disk. `compress` may be changed at any time. `schema` and
    `recording_id` are for tests and simulations.

    Methods raise SldtraceError when the file can no longer be written (disk full, I/O error, file
    deleted). After that nothing more is taken, but `close` still tries to write the closing facts.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        facts: Mapping[str, Any],
        force: bool = False,
        *,
        compress: bool = True,
        schema: Schema | None = None,
        recording_id: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.compress = compress
        self._schema = schema or schemas.current()
        self._id = secrets.randbits(64) if recording_id is None else recording_id
        self._sequence = 0
        self._pending = {name: _Pending(record) for name, record in self._schema.records.items()}
        self._written = dict.fromkeys(self._schema.records, 0)
        self._unwritten = dict.fromkeys(self._schema.records, 0)
        self._failure: SldtraceError | None = None
        self._description = {"facts": dict(facts), "schema": self._schema.to_json()}
        self._opening = pack_json(self._description)
        header, payload = self._json_chunk(ChunkType.OPENING, self._opening)
        start = pack_file_header() + header.pack() + payload
        self._file: int | None = create(self.path, force, start)
        self._sequence = 1
        self._end = self._repeated_at = len(start)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self.close({"reason": "abandoned"})

    @property
    def size(self) -> int:
        """Bytes in the file so far; what is buffered is not counted."""
        return self._end

    @property
    def written(self) -> Mapping[str, int]:
        """Records in the file so far, by kind; what is buffered is not counted."""
        return dict(self._written)

    def append(self, kind: str | int, records: Records) -> None:
        """Takes records of one kind; they are in the file after the next `flush` at the latest.

        `records` has the dtype of the schema, in any number, and is free for reuse on return. Raises
        KeyError for an unknown kind and ValueError for another dtype.
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
                taken += pending.take(rest)
                if pending.count == pending.capacity:
                    self._write_records(record, pending.drain())
        except SldtraceError:
            self._unwritten[record.name] += len(records) - taken
            raise

    def facts_update(self, facts: Mapping[str, Any]) -> None:
        """Writes facts that became known or changed during the recording, after what was appended before."""
        self.flush()
        self._write_json(ChunkType.UPDATE, pack_json({"facts": dict(facts)}))

    def flush(self) -> None:
        """Writes what is buffered; raises SldtraceError also when the file was deleted meanwhile."""
        self._check()
        for name, pending in self._pending.items():
            if pending.count:
                self._write_records(self._schema.records[name], pending.drain())
        if self._file is not None and os.fstat(self._file).st_nlink == 0:
            self._fail(
                f"{shown(self.path)} was deleted during the recording", hint="it is lost: record again"
            )

    def close(self, closing: Mapping[str, Any]) -> None:
        """Writes what is buffered and the closing facts, waits for the disk, closes the file; once only.

        The end chunk also says how many records of each kind were written, and, after a failure, how
        many were not. Raises SldtraceError unless a failure was raised before.
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
                self._fail(f"cannot write {shown(self.path)}: {error.strerror}", error)
        except SldtraceError:
            pass
        finally:
            os.close(self._file)
            self._file = None
        if self._failure is not None and not failed_before:
            raise self._failure

    def _write_end(self, closing: Mapping[str, Any]) -> None:
        end: dict[str, Any] = {"closing": dict(closing), "written": self._written}
        if self._failure is not None:
            for name, pending in self._pending.items():
                self._unwritten[name] += len(pending.drain())
            end |= {"unwritten": self._unwritten, "failure": self._failure.message}
        self._write_json(ChunkType.END, pack_json(end | self._description))

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

    def _write_records(self, record: Record, records: Records) -> None:
        payload, flags = encode(records.view(np.uint8).data, self.compress)
        times = records[record.time_field]
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
            first_ns=int(times.min()),
            last_ns=int(times.max()),
            crc=zlib.crc32(payload),
        )
        try:
            self._write(header, payload)
        except SldtraceError:
            self._unwritten[record.name] += len(records)
            raise
        self._written[record.name] += len(records)
        if self._end - self._repeated_at >= REPEAT_BYTES:
            self._repeated_at = self._end
            self._write_json(ChunkType.OPENING, self._opening)

    def _json_chunk(self, type_: ChunkType, text: bytes) -> tuple[ChunkHeader, Buffer]:
        if len(text) > MAX_PAYLOAD:
            raise ValueError(f"facts of {len(text)} bytes are more than a chunk holds")
        payload, flags = encode(text, self.compress)
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

    def _write(self, header: ChunkHeader, payload: Buffer) -> None:
        # All or nothing: a chunk that does not fit is cut off again.
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
        self._end += len(head) + len(payload)
        self._sequence += 1


class _Pending:
    # The records of one kind that wait to become a chunk.

    def __init__(self, record: Record) -> None:
        self.capacity = CHUNK_BYTES // record.size
        self.count = 0
        self._dtype = record.dtype
        self._buffer: Records | None = None

    def take(self, records: Records) -> int:
        if self._buffer is None:
            self._buffer = np.empty(self.capacity, self._dtype)
        taken = min(len(records), self.capacity - self.count)
        self._buffer[self.count : self.count + taken] = records[:taken]
        self.count += taken
        return taken

    def drain(self) -> Records:
        # Valid until the next call of `take`.
        drained = np.empty(0, self._dtype) if self._buffer is None else self._buffer[: self.count]
        self.count = 0
        return drained
