"""A recording in several consecutive files (--rotate), each of which can be read by itself."""

import contextlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sldtrace.errors import SldtraceError
from sldtrace.recording import schema as schemas
from sldtrace.recording.format import FILE_HEADER_SIZE, unpack_file_header
from sldtrace.recording.layout import Records
from sldtrace.recording.losses import lost_sums
from sldtrace.recording.merging import merge, newest
from sldtrace.recording.target import ExistsError, is_being_written, shown
from sldtrace.recording.tasks import KnownTasks
from sldtrace.recording.writer import REPEATED_ENTRIES, Writer


@dataclass(frozen=True)
class RotationOptions:
    """When the next file starts: at `bytes`, or after `time_ns`."""

    bytes: int | None = None
    time_ns: int | None = None
    max_files: int | None = None  # older files are deleted; None: none is


def segment(path: Path, number: int) -> Path:
    """The name of a file of the recording `path`: host.0007.sld for host.sld and 7."""
    return path.with_name(f"{path.stem}.{number:04}{path.suffix}")


def segments(path: Path) -> dict[int, Path]:
    """The existing files of the recording `path` by number, in order; OSError without its folder."""
    name = re.compile(re.escape(path.stem) + r"\.([0-9]{4,18})" + re.escape(path.suffix))
    found = {int(match[1]): each for each in path.parent.iterdir() if (match := name.fullmatch(each.name))}
    return dict(sorted(found.items()))


def check(path: Path) -> None:
    """Raises SldtraceError if a recorder is writing a file of the recording `path`."""
    _check(path, None)


def _check(path: Path, own: Path | None) -> None:
    try:
        existing = segments(path)
    except OSError:
        return  # the writer reports what is wrong with the folder
    for each in existing.values():
        if each != own and is_being_written(each):
            raise SldtraceError(
                f"{shown(each)} is being written by another recorder", "end that one, or take another name"
            )


class Rotation:
    """A sink like Writer that writes host.0001.sld, host.0002.sld, ... for `host.sld`.

    Each file starts with the current facts and the task records so far, and has its own losses. Numbers
    continue after those of existing files; one that is taken is skipped. Above `max_files` the oldest files
    are deleted, including those of earlier recordings of that name, but only recordings that are not being
    written. A file without records is not followed by another one.

    moment: returns facts that are current when a file starts or ends (`clock`). warning: a line about a file
    that could not be created, in which case the file before continues, or None. Otherwise as Writer.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        facts: Mapping[str, Any],
        rotation: RotationOptions,
        moment: Callable[[], Mapping[str, Any]],
        *,
        compress: bool = True,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.warning: str | None = None
        self._path = Path(path)
        self._rotation = rotation
        self._moment = moment
        self._compress = compress
        self._clock = clock
        self._facts: dict[str, Any] = dict(facts)
        self._id = secrets.token_hex(8)
        schema = schemas.current()
        self._trap = schema.records["trap"].number
        self._skipped = schema.enums["lost_cause"].values["SKIPPED"]
        self._tasks = KnownTasks(schema.records["task"])
        self._detail: Records | None = None
        self._accounted = 0  # traps of the files before this one, recorded or lost
        self._lost = 0  # traps in this one
        try:
            self._number = max(segments(self._path), default=0)
        except OSError:
            self._number = 0  # the writer reports what is wrong with the folder
        self._started_ns = 0
        self._step = 1
        check(self._path)
        self._writer = self._create()
        try:
            # Again, because two can start at once: at least the second one sees the file of the first.
            _check(self._path, self.path)
        except SldtraceError:
            self._writer.close({"ended_by": "error"})
            self.path.unlink()
            raise
        self._delete()

    def __enter__(self) -> "Rotation":
        return self

    def __exit__(self, *details: object) -> None:
        self._writer.__exit__(*details)

    @property
    def compress(self) -> bool:
        """Whether chunks are compressed; may be changed at any time."""
        return self._compress

    @compress.setter
    def compress(self, compress: bool) -> None:
        self._compress = self._writer.compress = compress

    @property
    def path(self) -> Path:
        """The file that is being written."""
        return self._writer.path

    @property
    def size(self) -> int:
        """Bytes in the file that is being written, without buffered records."""
        return self._writer.size

    @property
    def written(self) -> Mapping[str, int]:
        """Records in that file by kind, without buffered ones."""
        return self._writer.written

    def append(self, kind: str, records: Records) -> None:
        """As Writer.append."""
        self._writer.append(kind, records)
        if kind == "task":
            self._tasks.update(records, 0)
        elif kind == "detail" and len(records):
            self._detail = records[-1:].copy()
        elif kind == "lost":
            counts = lost_sums(records).items()
            self._lost += sum(
                count for (of, why, _), count in counts if of == self._trap and why != self._skipped
            )

    def facts_update(self, facts: Mapping[str, Any]) -> None:
        """As Writer.facts_update."""
        self._writer.facts_update(facts)
        self._facts = newest(merge(self._facts, facts), REPEATED_ENTRIES)

    def flush(self) -> None:
        """As Writer.flush; starts the next file if it is due."""
        self._writer.flush()
        if self._is_due():
            self._next()

    def close(self, closing: Mapping[str, Any]) -> None:
        """As Writer.close."""
        self._writer.close(closing)

    def _is_due(self) -> bool:
        limit = self._rotation
        too_big = limit.bytes is not None and self._writer.size >= limit.bytes * self._step
        age = self._clock() - self._started_ns
        too_old = limit.time_ns is not None and age >= limit.time_ns * self._step
        return (too_big or too_old) and any(
            count for kind, count in self._writer.written.items() if kind not in ("task", "detail")
        )

    def _create(self) -> Writer:
        # The number is used only if the file can be created. Each number that is taken is tried once.
        number = self._number + 1
        while True:
            own = {"number": number, "recording": self._id, "before": {"trap": self._accounted}}
            opening = {**self._facts, **self._moment(), "segment": own}
            try:
                writer = Writer(segment(self._path, number), opening, compress=self._compress)
                break
            except ExistsError:
                number += 1
        self._number, self._started_ns = number, self._clock()
        return writer

    def _next(self) -> None:
        accounted = self._accounted + self._lost + self._writer.written["trap"]
        before, self._accounted = self._accounted, accounted
        try:
            following = self._create()
        except SldtraceError as error:
            self._accounted = before
            self._step += 1
            self.warning = f"{error.message}: the recording continues in {self._writer.path.name}"
            return
        ended, self._writer = self._writer, following
        self._lost, self._step = 0, 1
        if len(self._tasks):
            following.append("task", self._tasks.all())
        if self._detail is not None:
            following.append("detail", self._detail)
        ended.close({**self._moment(), "ended_by": "rotation"})
        self._delete()
        following.flush()

    def _delete(self) -> None:
        if self._rotation.max_files is None:
            return
        # A file that cannot be deleted is kept; the recording continues.
        with contextlib.suppress(OSError):
            for path in list(segments(self._path).values())[: -self._rotation.max_files]:
                if _is_recording(path) and not is_being_written(path):
                    path.unlink()


def _is_recording(path: Path) -> bool:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        return False
    if not found.st_size:
        return True  # its recorder was killed when it had just created it
    with path.open("rb") as file:
        return unpack_file_header(file.read(FILE_HEADER_SIZE)) is not None
