"""Finds recordings in directories, and groups files into timelines: one for each host and boot."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sldtrace.errors import SldtraceError
from sldtrace.recording import reader
from sldtrace.recording.format import (
    CHUNK_HEADER_SIZE,
    FILE_HEADER_SIZE,
    unpack_chunk_header,
    unpack_file_header,
)
from sldtrace.recording.identity import Identity
from sldtrace.recording.joined import JoinedRecording
from sldtrace.recording.reader import Recording
from sldtrace.recording.target import shown
from sldtrace.recording.timeline import Timeline
from sldtrace.text.escape import escape
from sldtrace.text.phrases import length

SUFFIX = ".sld"
"""Of recordings. A file of this name that cannot be read is an error, whatever it holds."""

T = TypeVar("T")


@dataclass(frozen=True)
class Unreadable:
    """A file or directory that could not be read."""

    path: str  # not escaped
    reason: str  # one line, escaped


@dataclass(frozen=True)
class Found:
    """What is at some paths: files that are, or should be, recordings; each once.

    others: how many files in directories are clearly no recordings; folders: how many directories in them.
    """

    files: tuple[Path, ...]
    unreadable: tuple[Unreadable, ...]
    others: int
    folders: int


@dataclass(frozen=True)
class Collection:
    """Recordings that are open for reading, with what could not be read. Also a context manager.

    timelines: by host, in order of time; notes: a line about each file that is not read by itself, or beside
    others: copies and overlaps.
    """

    timelines: tuple[Timeline, ...]
    unreadable: tuple[Unreadable, ...]
    notes: tuple[str, ...]

    def __enter__(self) -> "Collection":
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.timelines:
            each.close()


def find(paths: Iterable[Path], recursive: bool = False) -> Found:
    """The recordings at these paths, in their order; those of a directory by name, without subdirectories.

    Nothing is left out by its name: a file in a directory is a recording if its name ends in SUFFIX or its
    first bytes are those of one. A path that is no directory is in `files` whatever it is.
    """
    files: list[Path] = []
    unreadable: list[Unreadable] = []
    others = folders = 0
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        for each in _listed(path, recursive, unreadable):
            if each.is_dir():
                folders += 1
            elif _may_be_recording(each, unreadable):
                files.append(each)
            else:
                others += 1
    return Found(tuple(_once(files)), tuple(unreadable), others, folders)


def _listed(folder: Path, recursive: bool, unreadable: list[Unreadable]) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        reason = f"cannot read {shown(folder)}: {error.strerror}"
        unreadable.append(Unreadable(str(folder), reason))
        return
    for each in entries:
        # A link to a directory may lead back.
        if recursive and each.is_dir() and not each.is_symlink():
            yield from _listed(each, recursive, unreadable)
        else:
            yield each


def _may_be_recording(path: Path, unreadable: list[Unreadable]) -> bool:
    if path.name.endswith(SUFFIX):
        return True
    try:
        # Opening a device or a pipe may block or have an effect.
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return is_recording(file.read(FILE_HEADER_SIZE + CHUNK_HEADER_SIZE))
    except OSError as error:
        unreadable.append(Unreadable(str(path), f"cannot read {shown(path)}: {error.strerror}"))
        return False


def is_recording(beginning: bytes) -> bool:
    """Are these the first FILE_HEADER_SIZE + CHUNK_HEADER_SIZE bytes of a recording?"""
    if unpack_file_header(beginning[:FILE_HEADER_SIZE]) is not None:
        return True
    return unpack_chunk_header(beginning[FILE_HEADER_SIZE:]) is not None


# A file that several names lead to comes once.
def _once(paths: Iterable[Path]) -> Iterator[Path]:
    seen = set()
    for path in paths:
        try:
            found = os.stat(path)
            key: object = found.st_dev, found.st_ino
        except (OSError, ValueError):
            key = str(path)
        if key not in seen:
            seen.add(key)
            yield path


def open_all(files: Sequence[Path], on_read: Callable[[int], object] = lambda _: None) -> Collection:
    """Opens the files and groups them; what cannot be read is in `unreadable`.

    on_read: called with the numbers of bytes that have been read.
    """
    recordings: list[Recording] = []
    unreadable: list[Unreadable] = []
    for path in files:
        try:
            recordings.append(reader.open_recording(path, on_read))
        except SldtraceError as error:
            unreadable.append(Unreadable(str(path), str(error)))
    kept, notes = _without_copies(recordings)
    timelines: list[Timeline] = []
    for boot in group(kept, lambda each: each.identity):
        lanes = _lanes(boot)
        notes += _overlaps(lanes)
        timelines += [lane[0] if len(lane) == 1 else JoinedRecording(lane) for lane in lanes]
    return Collection(tuple(timelines), tuple(unreadable), tuple(notes))


def group(items: Iterable[T], identity: Callable[[T], Identity]) -> list[list[T]]:
    """The items of one host and boot together: hosts by name, boots in order of wall time."""
    boots: dict[tuple[str, str], list[T]] = {}
    for each in items:
        boots.setdefault(identity(each).boot_key, []).append(each)
    return sorted(boots.values(), key=lambda boot: _first(map(identity, boot)))


def _first(boot: Iterable[Identity]) -> tuple[str, int]:
    return min((each.host, each.wall_ns or 0) for each in boot)


def _without_copies(recordings: Sequence[Recording]) -> tuple[list[Recording], list[str]]:
    best: dict[Identity, Recording] = {}
    notes = []
    for each in recordings:
        known = best.setdefault(each.identity, each)
        if known is each:
            continue
        kept, other = known, each
        if (each.closed, each.size) > (known.closed, known.size):
            kept, other = each, known
        best[each.identity] = kept
        other.close()
        notes.append(f"{shown(other.path)} is a copy of {shown(kept.path)}: read once")
    return list(best.values()), notes


# The recordings of a boot as one sequence if none overlap: two recorders at a time see each trap twice.
def _lanes(boot: Sequence[Recording]) -> list[list[Recording]]:
    runs: dict[str, list[Recording]] = {}
    for each in sorted(boot, key=lambda one: (one.identity.number or 0, one.parts[0].start_ns)):
        runs.setdefault(each.identity.run, []).append(each)
    lanes: list[list[Recording]] = []
    for run in sorted(runs.values(), key=lambda one: one[0].parts[0].start_ns):
        start = run[0].parts[0].start_ns
        lane = next((lane for lane in lanes if lane[-1].parts[0].end_ns <= start), None)
        if lane is None:
            lanes.append(list(run))
        else:
            lane += run
    return lanes


def _overlaps(lanes: Sequence[Sequence[Recording]]) -> Iterator[str]:
    for lane in lanes[1:]:
        first, own = lanes[0], lane[0].parts[0]
        other = next((each for each in first if each.parts[0].end_ns > own.start_ns), first[-1])
        common = min(other.parts[0].end_ns, own.end_ns) - own.start_ns
        yield (
            f"{escape(str(lane[0].path), 4096)} overlaps {escape(str(other.path), 4096)} by"
            f" {length(max(common, 0))}: two recorders at a time, reported one by one"
        )
