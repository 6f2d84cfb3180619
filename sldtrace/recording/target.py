"""Creates the file that a recording is written to; overwrites nothing without --force.

As long as it is written, the file is locked by flock(2): another recorder neither replaces nor deletes it. A
file system without locks (some NFS) has no such protection.
"""

import errno
import fcntl
import os
import stat
from pathlib import Path

from sldtrace.errors import SldtraceError
from sldtrace.text.escape import escape

CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
MODE = 0o600


STDOUT = Path("-")
"""The path that stands for standard output."""

STDIN = "standard input"
"""The name of the temporary file with what was read from there."""


def shown(path: Path) -> str:
    """The path, escaped for a message of one line."""
    if path == STDOUT:
        return "standard output"
    return STDIN if path.name == STDIN else escape(str(path), 4096)


class ExistsError(SldtraceError):
    """There is a file of that name."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{shown(path)} exists", "use --force to overwrite it")


def is_being_written(path: Path) -> bool:
    """Whether a writer has the file open: see `create`. False for what cannot be opened."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno == errno.EWOULDBLOCK
    finally:
        os.close(file)
    return False


def _lock(file: int) -> None:
    # Of a file that was just created: only the lack of locks can fail here.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def check(path: Path, force: bool) -> None:
    """Raises SldtraceError if `create` would fail at this path now.

    Only a regular file that no recorder is writing is replaced, and only with `force`.
    """
    if path == STDOUT:
        if os.isatty(1):
            raise SldtraceError(
                "standard output is a terminal", "pipe the recording into a program, or name a file"
            )
        return
    try:
        path.parent.stat()
        mode = path.lstat().st_mode
    except FileNotFoundError as error:
        if path.parent.exists():
            _check_folder(path)
            return
        raise _impossible(path, error) from error
    except OSError as error:
        raise _impossible(path, error) from error
    if stat.S_ISDIR(mode):
        raise SldtraceError(f"{shown(path)} is a directory", "name a file to write to")
    if stat.S_ISLNK(mode):
        raise SldtraceError(f"{shown(path)} is a symbolic link", "name the file itself")
    if not stat.S_ISREG(mode):
        raise SldtraceError(f"{shown(path)} is not a regular file", "a recording can only be written to one")
    if not force:
        raise ExistsError(path)
    if is_being_written(path):
        raise SldtraceError(
            f"{shown(path)} is being written by another recorder", "end that one, or write to another file"
        )


def _check_folder(path: Path) -> None:
    # access(2) checks permissions and read-only file systems.
    if not os.access(path.parent, os.W_OK | os.X_OK):
        read_only = os.statvfs(path.parent).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        raise _impossible(path, OSError(number, os.strerror(number)))


def create(path: Path, force: bool, opening: bytes) -> int:
    """Creates `path` with the bytes `opening`, mode 0600; returns a file descriptor in append mode.

    The file is locked until the descriptor is closed. With `force` an existing regular file is replaced by
    rename(2) once the new one is written. Raises ExistsError without it, and SldtraceError for anything else
    (directory, symbolic link, device). On failure no file is left.

    STDOUT is standard output. What is printed there later goes to standard error: it would be in the
    recording.
    """
    if path == STDOUT:
        return _standard_output(opening)
    try:
        check(path, force)
        begun = path.with_name(f".{path.name}.{os.urandom(4).hex()}") if force else path
        file = os.open(begun, CREATE, MODE)
        try:
            _lock(file)
            written = os.write(file, opening)
            if written != len(opening):
                os.write(file, opening[written:])  # raises the reason
            if os.fstat(file).st_size != len(opening):
                raise OSError("the file system took only a part of it")
            if force:
                check(path, force)
                os.rename(begun, path)
        except BaseException:
            os.close(file)
            begun.unlink(missing_ok=True)
            raise
        return file
    except FileExistsError as error:
        raise ExistsError(path) from error
    except (OSError, ValueError) as error:
        raise _impossible(path, error) from error


def _standard_output(opening: bytes) -> int:
    check(STDOUT, force=False)
    try:
        file = os.dup(1)
        os.dup2(2, 1)
        left = memoryview(opening)
        while left:
            left = left[os.write(file, left) :]
    except OSError as error:
        raise _impossible(STDOUT, error) from error
    return file


def _impossible(path: Path, error: OSError | ValueError) -> SldtraceError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return SldtraceError(f"cannot create {shown(path)}: {reason}", "write the recording somewhere else")
