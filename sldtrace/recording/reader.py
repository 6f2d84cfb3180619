"""Reads a recording of any version, also a damaged one."""

import io
import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.errors import SldtraceError
from sldtrace.recording import describe
from sldtrace.recording import schema as schemas
from sldtrace.recording.chunks import Chunk, Chunks
from sldtrace.recording.discarded import Discarded, parse
from sldtrace.recording.encoding import ZSTD_HINT, Decoder, decode_text, unreadable_flags
from sldtrace.recording.format import (
    FORMAT_VERSION,
    MAX_VALUES,
    ChunkHeader,
    ChunkType,
    PayloadError,
    count_values,
    unpack_json,
)
from sldtrace.recording.identity import Identity, identify, monotonic_ns
from sldtrace.recording.layout import LayoutError, Record, Records, Schema, from_json
from sldtrace.recording.losses import lost_sums, named_losses
from sldtrace.recording.scan import Damage, Scan, Source, scan
from sldtrace.recording.target import is_being_written, shown
from sldtrace.recording.timeline import Gap, Loss, Part
from sldtrace.recording.upgrade import Upgrade, check_form
from sldtrace.text.escape import escape

_TYPES = frozenset(ChunkType)


class Recording:
    """A recording that is open for reading; `open_recording` returns it, `close` or `with` closes it.

    facts: the host facts as the recorder wrote them, {} if they are lost; updates: facts that were added
    during the recording, in order; closing: the closing facts, None if the recording has no end; schema: that
    of the file; warnings: one line for each thing that is damaged or missing; damages: the same for programs,
    with byte offsets; closed: whether the recording has an end; discarded: the account of --keep, None for
    none.
    """

    def __init__(self, path: Path, file: io.FileIO, on_read: Callable[[int], object]) -> None:
        self.path = path
        self._file = file
        self._source = Source(file)
        self._decoder = Decoder()
        running = is_being_written(path)
        found = scan(self._source, on_read)
        _check_readable(path, found)
        self._warnings: list[str] = []
        self._more_warnings = 0  # which are not in that list
        self._counts: dict[str, int] | None = None
        self._contents: dict[int, dict[str, Any]] = {}
        self.discarded: Discarded | None = self._read_discarded(found)
        if self.discarded is not None:
            found = found.without(self.discarded.below)
        self.size: int = found.size
        self.closed: bool = found.closed
        self.damages: tuple[Damage, ...] = found.damages
        self.recording_id: int = found.chunks[0].header.recording
        self.facts: dict[str, Any] = {}
        self.updates: list[dict[str, Any]] = []
        self.closing: dict[str, Any] | None = None
        self._end: dict[str, Any] | None = None
        self._read_updates(found.chunks)
        self.schema: Schema = self._read_facts(found)
        self._contents.clear()
        usable = self._usable(found.chunks)
        lacking = usable.column("flags") & unreadable_flags() != 0
        self._chunks: Chunks = usable.where(~lacking)
        self._decodable = np.ones(len(self._chunks), bool)  # no chunk is known to be damaged so far
        if np.any(lacking):
            self._warn(describe.lacking(self._sums(usable.where(lacking)), "zstd", ZSTD_HINT))
        self._scan_warnings = list(describe.scan_warnings(found, self.schema.by_number, running))

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; records can no longer be read."""
        self._file.close()

    @property
    def warnings(self) -> list[str]:
        """One line for each thing that is damaged, missing or unknown."""
        found = self._scan_warnings + self._warnings
        if self._more_warnings:
            found.append(f"and {self._more_warnings} more chunks are skipped")
        found += describe.record_warnings(self.counts, self._end)
        unknown = [
            name for name, number in self.counts.items() if number and name not in schemas.current().records
        ]
        return found + [f"records of kind {escape(name)} mean nothing to this version" for name in unknown]

    @property
    def damaged(self) -> bool:
        """Whether a part of the file could not be read; `warnings` names it."""
        return bool(self.damages or self._warnings)

    @property
    def counts(self) -> dict[str, int]:
        """How many records of each kind can be read."""
        if self._counts is None:
            self._counts = {**dict.fromkeys(self.schema.records, 0), **self._sums(self._readable())}
        return dict(self._counts)

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """The smallest and the largest time of a record (CLOCK_MONOTONIC ns); None without records."""
        chunks = self._readable()
        if not len(chunks):
            return None
        return int(chunks.column("first_ns").min()), int(chunks.column("last_ns").max())

    @cached_property
    def identity(self) -> Identity:
        """Which host, boot and recording the file is of."""
        return identify(self.recording_id, self.facts)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The file itself: from the clock in its facts where they have it, else from its records."""
        first, last = self.span_ns or (0, 0)
        start = first if self.identity.start_ns is None else self.identity.start_ns
        if self.discarded is not None:
            start = max(start, self.discarded.last_ns)
        end = monotonic_ns(self.closing or {})
        end = max(last, start) if end is None else end
        return (Part(self.path.name, start, end, self.counts.get("trap", 0)),)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """None: they are between files."""
        return ()

    def first_ns(self, kinds: Collection[str]) -> int | None:
        """The smallest time of a record of these kinds (CLOCK_MONOTONIC ns); None without any."""
        chunks = self._readable(kinds)
        return int(chunks.column("first_ns").min()) if len(chunks) else None

    def upgrade(self, kind: str) -> Upgrade:
        """How the records of that kind are turned into the current schema; raises SldtraceError."""
        current = schemas.current().records.get(kind)
        written = self.schema.records.get(kind, current)
        if written is None:
            known = ", ".join(dict.fromkeys([*self.schema.records, *schemas.current().records]))
            raise SldtraceError(f"there is no record kind {escape(kind)}", f"the kinds are: {known}")
        return Upgrade(written, current)

    def chunks(
        self, kind: str | None = None, times: npt.NDArray[np.uint64] | None = None
    ) -> Iterator[tuple[str, Records]]:
        """Kind and records, chunk by chunk in file order; at most MAX_PAYLOAD bytes at a time.

        times: in ascending order; chunks that can have a record of none of these times are left out.
        Within a kind the records are nearly, not strictly, in order of time.
        """
        chunks = self._readable(None if kind is None else [kind])
        if times is not None:
            first, last = chunks.column("first_ns"), chunks.column("last_ns")
            chunks = chunks.where(np.searchsorted(times, last, "right") > np.searchsorted(times, first))
        for chunk in chunks:
            name = self._name(chunk)
            records = np.empty(chunk.header.count, self.schema.records[name].dtype)
            if self._load(chunk, records):
                yield name, self.upgrade(name).apply(records)

    def timed_chunks(self, kinds: Collection[str]) -> Iterator[tuple[str, Records, int | None]]:
        """Kind and records as `chunks` gives them, of these kinds, and the smallest time that still follows.

        None: nothing follows. Records are valid after the next chunk has been read.
        """
        chunks = self._readable(kinds)
        following = np.minimum.accumulate(chunks.column("first_ns")[::-1])[::-1]
        for number, chunk in enumerate(chunks):
            name = self._name(chunk)
            records = np.empty(chunk.header.count, self.schema.records[name].dtype)
            if self._load(chunk, records):
                last = number == len(chunks) - 1
                yield name, self.upgrade(name).apply(records), None if last else int(following[number + 1])

    def batches(self, kind: str, most: int) -> Iterator[Records]:
        """The records of that kind in file order, in the current schema (see `Upgrade`), some at a time.

        A batch has at most `most` records, or those of one chunk if they are more; it is valid until the
        next one. Within a kind the records are nearly, not strictly, in order of time. Raises SldtraceError
        for an unknown kind.
        """
        upgrade = self.upgrade(kind)
        chunks = self._readable([kind])
        counts = chunks.column("count")
        largest = int(counts.max(initial=0))
        total = int(counts.sum())
        room = np.empty(min(max(most, largest), total), upgrade.written.dtype)
        end = 0
        for chunk in chunks:
            count = chunk.header.count
            if end and end + count > len(room):
                yield upgrade.apply(room[:end])
                end = 0
            # A chunk that cannot be decoded is overwritten by the next one.
            if self._load(chunk, room[end : end + count]):
                end += count
        if end:
            yield upgrade.apply(room[:end])

    def records(self, kind: str) -> Records:
        """All records of that kind in order of time, in the current schema (see `Upgrade`).

        Raises SldtraceError for an unknown kind; a kind of which nothing was recorded is an empty array.
        """
        upgrade = self.upgrade(kind)
        whole = next(self.batches(kind, sys.maxsize), None)
        if whole is None:
            whole = np.empty(0, upgrade.dtype)
        return _in_order(whole, upgrade.written)

    @cached_property
    def losses(self) -> list[Loss]:
        """Sums of the lost records, including discarded ones."""
        sums = dict(self.discarded.lost) if self.discarded else {}
        for key, total in lost_sums(self.records("lost")).items():
            sums[key] = sums.get(key, 0) + total
        return named_losses(sums, self.schema)

    def _name(self, chunk: Chunk) -> str:
        return self.schema.by_number[chunk.header.kind].name

    def _readable(self, kinds: Collection[str] | None = None) -> Chunks:
        # The chunks of records of these kinds, without those that could not be decoded.
        if kinds is None:
            return self._chunks.where(self._decodable)
        numbers = [record.number for name, record in self.schema.records.items() if name in kinds]
        return self._chunks.where(self._decodable & self._chunks.having("kind", numbers))

    def _sums(self, chunks: Chunks) -> dict[str, int]:
        # How many records of each kind are in these chunks.
        kinds, inverse = np.unique(chunks.column("kind"), return_inverse=True)
        sums = np.zeros(len(kinds), np.uint64)
        np.add.at(sums, inverse, chunks.column("count"))
        return {
            self.schema.by_number[number].name: count
            for number, count in zip(kinds.tolist(), sums.tolist(), strict=True)
        }

    def _read_discarded(self, found: Scan) -> Discarded | None:
        # The newest account: each one includes those before it.
        newest: Discarded | None = None
        for chunk in _of_types(found.chunks, ChunkType.OPENING, ChunkType.END):
            content = self._json(chunk)
            if content is None:
                continue
            # The facts are repeated in long recordings: what is not needed again is not kept.
            if not self._contents or chunk.offset == found.chunks[-1].offset:
                self._contents[chunk.offset] = content
            account = parse(content.get("discarded"))
            # Only chunks before this one can be discarded.
            if account is not None and account.below <= chunk.header.sequence:
                newest = account
        return newest

    def _json(self, chunk: Chunk) -> dict[str, Any] | None:
        # The content of a chunk; None, and a warning, when it cannot be decoded.
        try:
            return unpack_json(self._text(chunk))
        except PayloadError as error:
            self._warn_of(chunk, str(error))
            return None

    def _text(self, chunk: Chunk) -> bytes:
        stored = self._source.payload(chunk)
        if stored is None:
            raise self._changed()
        return bytes(decode_text(chunk.header, stored))

    def _read_updates(self, chunks: Chunks) -> None:
        values = 0
        for chunk in _of_types(chunks, ChunkType.UPDATE):
            try:
                text = self._text(chunk)
                values += count_values(text)
                if values > MAX_VALUES:
                    raise PayloadError(f"and those before it have more than {MAX_VALUES} values")
                self.updates.append(_object(unpack_json(text).get("facts")))
            except PayloadError as error:
                self._warn_of(chunk, str(error))

    def _read_facts(self, found: Scan) -> Schema:
        # Takes facts and schema from the first chunk that has them; the schema that they were written with.
        schema: Schema | None = None
        for chunk in _of_types(found.chunks, ChunkType.OPENING, ChunkType.END):
            header = chunk.header
            if header.type == ChunkType.OPENING and schema is not None:
                continue
            content = self._contents.get(chunk.offset)
            if content is None:
                with suppress(PayloadError):  # of which `_read_discarded` has warned
                    content = unpack_json(self._text(chunk))
            if content is None:
                continue
            if header.type == ChunkType.END:
                self._end = content
                self.closing = _object(content.get("closing"))
            if schema is None:
                self.facts = _object(content.get("facts"))
                schema = self._schema(chunk, content.get("schema"))
        if schema is not None:
            return schema
        self._warn("the host facts are lost")
        version = found.chunks[0].header.schema
        known = schemas.known(version)
        if known is None:
            raise SldtraceError(
                f"{shown(self.path)} has lost the description of its records (schema version {version})",
                "read it with a newer sldtrace",
            )
        return known

    def _schema(self, chunk: Chunk, description: Any) -> Schema | None:
        if description == schemas.current().to_json():
            return schemas.current()
        try:
            found = from_json(description)
            for name, record in schemas.current().records.items():
                check_form(found.records.get(name, record), record)
            return found
        except LayoutError as error:
            self._warn_of(chunk, f"describes no usable schema ({error})")
            return None

    def _usable(self, chunks: Chunks) -> Chunks:
        # Those with records that the schema describes; adds warnings about others.
        usable = np.zeros(len(chunks), bool)
        for number, chunk in enumerate(chunks):
            fault = self._fault(chunk.header)
            if fault:
                self._warn_of(chunk, fault)
            elif chunk.header.type == ChunkType.RECORDS:
                usable[number] = chunk.header.count > 0
        return chunks.where(usable)

    def _fault(self, header: ChunkHeader) -> str:
        # Why the content of a chunk cannot be understood, or an empty text.
        if header.type != ChunkType.RECORDS:
            return "" if header.type in _TYPES else f"is of unknown type {header.type}"
        record = self.schema.by_number.get(header.kind)
        if record is None:
            return f"holds {describe.count(header.count, 'record')} of unknown kind {header.kind}"
        if header.schema != self.schema.version or header.size != record.size:
            return f"holds {record.name} records of another layout than the file describes"
        return ""

    def _load(self, chunk: Chunk, target: Records) -> bool:
        # Reads the records of a chunk into `target`; False when they cannot be decoded.
        if not chunk.header.flags:
            if not self._source.payload_into(chunk, target.view(np.uint8).data):
                raise self._changed()
            return True
        stored = self._source.payload(chunk)
        if stored is None:
            raise self._changed()
        try:
            self._decoder.records(chunk.header, stored, target)
        except PayloadError as error:
            self._decodable[self._chunks.number_at(chunk.offset)] = False
            self._counts = None
            self._warn_of(chunk, str(error))
            return False
        return True

    def _warn_of(self, chunk: Chunk, what: str) -> None:
        self._warn(f"the chunk at byte {chunk.offset} {escape(what)}; skipped")

    def _warn(self, line: str) -> None:
        if len(self._warnings) < describe.MOST:
            self._warnings.append(line)
        else:
            self._more_warnings += 1

    def _changed(self) -> SldtraceError:
        return SldtraceError(f"{shown(self.path)} changed while it was read", "read it again")


def _of_types(chunks: Chunks, *types: ChunkType) -> Chunks:
    return chunks.where(chunks.having("type", types))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _in_order(records: Records, layout: Record) -> Records:
    times = records[layout.time_field]
    if np.all(times[1:] >= times[:-1]):
        return records
    return records[np.argsort(times, kind="stable")]


def _check_readable(path: Path, found: Scan) -> None:
    if found.size == 0:
        raise SldtraceError(f"{shown(path)} is empty", "nothing was recorded into it")
    if found.version is not None and found.version > FORMAT_VERSION:
        raise SldtraceError(
            f"{shown(path)} has format {found.version}, this version reads up to {FORMAT_VERSION}",
            "read it with a newer sldtrace",
        )
    if not found.chunks and found.version is not None:
        raise SldtraceError(
            f"{shown(path)} is a recording of which no chunk is left",
            "it was cut or damaged; take another copy",
        )
    if not found.chunks:
        raise SldtraceError(f"{shown(path)} is not an sldtrace recording", "name a file that `record` wrote")


def open_recording(
    path: str | os.PathLike[str], on_read: Callable[[int], object] = lambda _: None
) -> Recording:
    """Opens a recording, verifies every checksum in it and reads its facts; see Recording for the rest.

    Damage is not an error: what is sound is read, and `warnings` names the rest. SldtraceError, one line,
    when nothing can be read: no such file, no permission, a directory, a device, an empty file, a file of
    another kind, a newer format. on_read: called with numbers of bytes that were read.
    """
    path = Path(path)
    file = _open(path)
    try:
        return Recording(path, file, on_read)
    except BaseException:
        file.close()
        raise


def _open(path: Path) -> io.FileIO:
    try:
        # Before opening: opening a device or a pipe may block or have an effect.
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise SldtraceError(f"{shown(path)} is a directory", "name the file of a recording")
        if not stat.S_ISREG(mode):
            raise SldtraceError(f"{shown(path)} is not a regular file", "save the recording to a file first")
        return io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))
    except FileNotFoundError as error:
        raise SldtraceError(f"{shown(path)} does not exist", "name the file of a recording") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SldtraceError(
            f"cannot read {shown(path)}: {reason}", "name a file that you may read"
        ) from error
