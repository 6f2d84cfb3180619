"""Rewrites a recording without the hole that discarded chunks left at its start (--keep)."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from sldtrace.recording.target import CREATE, MODE, shown

_BLOCK = 1 << 20


def compact(path: Path, file: int, head: int, boundary: int, end: int) -> str | None:
    """Replaces `path` by a file with the bytes before `head` and from `boundary` to before `end`.

    The copy is written in the same folder, needs the same space again, and gets its name when it is on the
    disk. If the process is killed, nothing is left of it (but on file systems without O_TMPFILE: NFS).
    If that fails (no space, no permission, another file has the name) `path` is unchanged, which is a valid
    recording too, and the result is a line that says why; None on success.
    """
    begun = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        copy, named = _create(begun)
        try:
            _copy(file, copy, 0, head)
            _copy(file, copy, boundary, end)
            os.fsync(copy)
            if not os.path.samestat(os.fstat(file), os.lstat(path)):
                raise OSError(0, "another file has taken its name")
            if not named:
                _name(copy, begun)
            os.rename(begun, path)
        except BaseException:
            with contextlib.suppress(OSError):
                begun.unlink()
            raise
        finally:
            os.close(copy)
        with _opened(path.parent) as folder:
            os.fsync(folder)
    except OSError as error:
        why = f"{shown(path)} keeps a hole where chunks were discarded: {error.strerror}"
        return f"{why}; copy it with cp --sparse=always"
    return None


# A file without a name where the file system has such files; and whether it has a name.
def _create(path: Path) -> tuple[int, bool]:
    with contextlib.suppress(OSError):
        return os.open(path.parent, os.O_TMPFILE | os.O_RDWR, MODE), False
    return os.open(path, CREATE, MODE), True


# Python follows the link of /proc only where it calls linkat(2), which it does for a descriptor of a folder.
def _name(file: int, path: Path) -> None:
    with _opened(path.parent) as folder:
        os.link(f"/proc/self/fd/{file}", path.name, dst_dir_fd=folder, follow_symlinks=True)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    file = os.open(folder, os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)


def _copy(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        block = os.pread(source, min(_BLOCK, end - start), start)
        if not block:
            raise OSError(0, "it is shorter than what was written")
        start += len(block)
        view = memoryview(block)
        while view:
            view = view[os.write(target, view) :]
