"""Rewrites a recording without the hole that discarded chunks left at its start (--keep)."""

import contextlib
import os
import secrets
from pathlib import Path

from sldtrace.recording.target import CREATE, MODE, shown

_BLOCK = 1 << 20


def compact(path: Path, file: int, head: int, boundary: int, end: int) -> str | None:
    """Replaces `path` by a file with the bytes before `head` and from `boundary` to before `end`.

    The copy is written in the same folder, needs the same space again, and is renamed when it is on the disk.
    If that fails (no space, no permission, another file has the name) `path` is unchanged, which is a valid
    recording too, and the result is a line that says why; None on success.
    """
    begun = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        copy = os.open(begun, CREATE, MODE)
        try:
            _copy(file, copy, 0, head)
            _copy(file, copy, boundary, end)
            os.fsync(copy)
            if not os.path.samestat(os.fstat(file), os.lstat(path)):
                raise OSError(0, "another file has taken its name")
            os.rename(begun, path)
        except BaseException:
            with contextlib.suppress(OSError):
                begun.unlink()
            raise
        finally:
            os.close(copy)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        why = f"{shown(path)} keeps a hole where chunks were discarded: {error.strerror}"
        return f"{why}; copy it with cp --sparse=always"
    return None


def _copy(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        block = os.pread(source, min(_BLOCK, end - start), start)
        if not block:
            raise OSError(0, "it is shorter than what was written")
        start += len(block)
        view = memoryview(block)
        while view:
            view = view[os.write(target, view) :]
