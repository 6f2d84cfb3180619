"""Opens a log: a file, standard input, or that of the running system."""

import io
import os
import stat
import subprocess
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from sldtrace.errors import SldtraceError
from sldtrace.kernlog import unpack
from sldtrace.kernlog.unpack import Stream
from sldtrace.recording.format import FILE_HEADER_SIZE, unpack_file_header
from sldtrace.recording.target import shown

_KMSG = Path("/dev/kmsg")
_KMSG_RECORD = 1 << 13  # no record is longer (CONSOLE_EXT_LOG_MAX, kernel/printk/internal.h)
_RING = "the kernel's ring buffer"
_RING_NOTE = "of this boot only; it overwrites its oldest lines when it is full"
_COMMANDS = (
    (
        ["journalctl", "--dmesg", "--output=json", "--no-pager", "--quiet"],
        "the journal",
        "of this boot only, and only what the journal kept; of all boots: "
        "journalctl --boot=all _TRANSPORT=kernel -o json | sldtrace log -",
    ),
    (["dmesg"], f"{_RING} (dmesg)", _RING_NOTE),
)


@dataclass
class Source:
    """Where a log is read from.

    name: safe to print; note: what may be missing from it; packing: what was undone to read it, outermost
    first; damage: why the rest of it could not be read, empty if all of it was. lines: how many were read.
    """

    name: str
    note: str = ""
    packing: tuple[str, ...] = ()
    damage: str = ""
    lines: int = 0


class _Raw:
    """The file itself: counts the bytes, and makes read errors SldtraceErrors."""

    def __init__(self, file: io.BufferedReader, name: str, progress: Callable[[int], None]) -> None:
        self._file, self._name, self._progress = file, name, progress

    def read(self, size: int, /) -> bytes:
        try:
            data = self._file.read(size)
        except OSError as error:
            raise _unreadable(self._name, error) from error
        self._progress(len(data))
        return data


def size(path: Path) -> int:
    """Bytes of a regular file; 0 where that is not known."""
    try:
        status = os.stat(0 if str(path) == "-" else path)
    except (OSError, ValueError):
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def file(path: Path, progress: Callable[[int], None] = lambda _: None) -> Iterator[tuple[Source, Stream]]:
    """The logs in a file, each to be read before the next: one, or the members of an archive.

    `-` is standard input. progress: called with the number of bytes that were read. A source's `damage` is
    complete when the next one is asked for. Raises SldtraceError if the file cannot be read, is of a format
    that is not understood, or is not a log but a recording.
    """
    name = "standard input" if str(path) == "-" else shown(path)
    try:
        raw = open(0, "rb", closefd=False) if str(path) == "-" else path.open("rb")  # noqa: SIM115
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error
    with raw:
        try:
            begin = raw.peek(FILE_HEADER_SIZE)[:FILE_HEADER_SIZE]
        except OSError as error:
            raise _unreadable(name, error) from error
        if unpack_file_header(begin) is not None:
            hint = "read it with sldtrace report, or name it with --recording"
            raise SldtraceError(f"{name} is a recording, not a log", hint)
        try:
            for stream in unpack.streams(_Raw(raw, name, progress)):
                source = Source(f"{name}: {stream.name}" if stream.name else name, packing=stream.packing)
                yield source, stream
                source.damage = stream.damage
        except unpack.Unsupported as error:
            raise SldtraceError(f"{name} {error}", error.hint) from None


def _unreadable(name: str, error: Exception) -> SldtraceError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, PermissionError):
        hint = "run it as root, or as a member of the group adm"
    else:
        hint = "name a file with lines of the kernel's log, or - for standard input"
    return SldtraceError(f"cannot read {name}: {reason}", hint)


def running_system() -> Generator[tuple[Source, Stream], None, None]:
    """The log of the running kernel: from the journal, else dmesg, else /dev/kmsg.

    An empty one is skipped: an unprivileged user gets an empty journal, not an error. Raises SldtraceError if
    none can be read.
    """
    for command, name, note in _COMMANDS:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )  # fmt: skip
        except OSError:
            continue
        with process:
            assert process.stdout is not None  # PIPE
            try:
                if isinstance(process.stdout, io.BufferedReader) and process.stdout.peek(1):
                    yield Source(name, note), Stream(process.stdout)
                    return
            finally:
                process.kill()
    yield Source(f"{_RING} (/dev/kmsg)", _RING_NOTE), Stream(io.BytesIO(_kmsg()))


def _kmsg() -> bytes:
    records = []
    try:
        device = os.open(_KMSG, os.O_RDONLY | os.O_NONBLOCK)
        try:
            while True:
                try:
                    records.append(os.read(device, _KMSG_RECORD))
                except BlockingIOError:
                    break
                except BrokenPipeError:
                    continue  # records were overwritten; the next read goes on with the oldest
        finally:
            os.close(device)
    except OSError as error:
        raise SldtraceError(
            f"the kernel's log cannot be read here ({error.strerror})",
            "run it as root, or name a file: journalctl -k -o json > FILE",
        ) from error
    return b"".join(records)
