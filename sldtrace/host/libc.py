"""The C library, loaded once by ctypes, and its errors as OSError."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
"""Functions return a C int unless a module sets `restype`; errno is in ctypes.get_errno()."""

libc.syscall.restype = ctypes.c_long


def check(result: int) -> int:
    """The result of a call; raises OSError with errno if it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
