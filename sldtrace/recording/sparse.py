"""Sparse files: punches holes, and finds the data after a hole."""

import ctypes
import errno
import os
from pathlib import Path

from sldtrace.errors import SldtraceError
from sldtrace.host.libc import check, libc
from sldtrace.text.escape import escape

# include/uapi/linux/falloc.h
_KEEP_SIZE = 1
_PUNCH_HOLE = 2

libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong]


def punch(file: int, start: int, end: int) -> None:
    """Turns the bytes from `start` to before `end` into zeros and frees the blocks wholly inside.

    fallocate(2), FALLOC_FL_PUNCH_HOLE: ext4, XFS, Btrfs, tmpfs and NFS 4.2 can. Raises OSError.
    """
    check(libc.fallocate(file, _PUNCH_HOLE | _KEEP_SIZE, start, end - start))


def require(folder: Path) -> None:
    """Raises SldtraceError where the file system of that folder cannot punch holes."""
    probe = folder / f".sldtrace-{os.urandom(4).hex()}"
    shown = escape(str(folder), 4096)
    try:
        file = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            probe.unlink()
            os.write(file, bytes(4096))
            punch(file, 0, 4096)
        finally:
            os.close(file)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise SldtraceError(
                f"the file system of {shown} cannot give back parts of a file, which --keep needs",
                "record to another one (ext4, XFS, Btrfs, tmpfs), or use --rotate",
            ) from error
        raise SldtraceError(f"cannot write in {shown}: {error.strerror}", "record somewhere else") from error


def next_data(file: int, offset: int, size: int) -> int:
    """The first byte at or after `offset` that is not in a hole; `size`, that of the file, if there is none.

    lseek(2), SEEK_DATA; on a file system without holes all is data. Moves the file offset.
    """
    try:
        return os.lseek(file, offset, os.SEEK_DATA)
    except OSError as error:
        return size if error.errno == errno.ENXIO else offset
