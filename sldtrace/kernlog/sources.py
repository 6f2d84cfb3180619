"""Opens a log: a file, standard input, or that of the running system."""

import gzip
import io
import lzma
import os
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sldtrace.errors import SldtraceError
from sldtrace.kernlog.stream import Readable
from sldtrace.recording.format import FILE_HEADER_SIZE, unpack_file_header
from sldtrace.recording.target import shown

_GZIP, _XZ, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"  # how such files begin
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


@dataclass(frozen=True)
class Source:
    """name: what is read, safe to print; note: what may be missing from it."""

    name: str
    note: str = ""


class _Checked:
    """A log whose read errors are SldtraceErrors."""

    def __init__(self, log: Readable, name: str) -> None:
        self._log, self._name = log, name

    def read(self, size: int, /) -> bytes:
        try:
            return self._log.read(size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise _unreadable(self._name, error) from error


@contextmanager
def file(path: Path) -> Iterator[tuple[Source, Readable]]:
    """A file, compressed by gzip or xz or not, or standard input for `-`.

    Raises SldtraceError if it cannot be read, also in the middle, or is not a log but a recording.
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
        if begin.startswith(_ZSTD):
            raise SldtraceError(f"{name} is compressed by zstd", "zstdcat FILE | sldtrace log -")
        yield Source(name), _Checked(_unpacked(raw, begin), name)


def _unpacked(raw: io.BufferedReader, begin: bytes) -> Readable:
    if begin.startswith(_GZIP):
        return gzip.GzipFile(fileobj=raw)
    return lzma.LZMAFile(raw) if begin.startswith(_XZ) else raw


def _unreadable(name: str, error: Exception) -> SldtraceError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, PermissionError):
        hint = "run it as root, or as a member of the group adm"
    elif isinstance(error, EOFError | zlib.error | gzip.BadGzipFile | lzma.LZMAError):
        hint = "to read what can be unpacked: zcat (or xzcat) FILE | sldtrace log -"
    else:
        hint = "name a file with lines of the kernel's log, or - for standard input"
    return SldtraceError(f"cannot read {name}: {reason}", hint)


@contextmanager
def running_system() -> Iterator[tuple[Source, Readable]]:
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
                    yield Source(name, note), process.stdout
                    return
            finally:
                process.kill()
    yield Source(f"{_RING} (/dev/kmsg)", _RING_NOTE), io.BytesIO(_kmsg())


def _kmsg() -> bytes:
    records = []
    try:
        device = os.open(_KMSG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
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
