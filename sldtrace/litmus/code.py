"""The machine code of the test: one locked instruction between two reads of the time-stamp counter."""

import ctypes
import mmap
import platform
import struct
from typing import Literal

from sldtrace.errors import SldtraceError

LINE = 64
"""Bytes of a cache line."""

# lfence; rdtsc orders the read after all instructions before it (Intel SDM volume 2, RDTSC).
CODE = """
lfence
rdtsc
shl $32, %rdx
or %rdx, %rax
mov %rax, (%rsi)
lfence
lock incl (%rdi)
lfence
rdtsc
shl $32, %rdx
or %rdx, %rax
mov %rax, 8(%rsi)
ret
"""
"""What IMAGE does, for the C arguments (operand, two 64-bit results); `as --64` assembles it to IMAGE."""

IMAGE = bytes.fromhex("0faee80f3148c1e2204809d04889060faee8f0ff070faee80f3148c1e2204809d048894608c3")

_PAGE = mmap.PAGESIZE
_ALIGNED = _PAGE + 2 * LINE
_SPLIT = _ALIGNED + LINE - 2  # two bytes of the doubleword are in the next line
_RESULTS = _PAGE + 8 * LINE


class Lock:
    """One locked increment at each call, of an operand in one cache line or in two.

    Raises SldtraceError on another architecture, and where memory that is writable and executable is refused.
    """

    def __init__(self) -> None:
        if platform.machine() != "x86_64":
            raise SldtraceError("split locks exist on x86 only", "run it on an x86-64 machine")
        try:
            self._memory = mmap.mmap(
                -1,
                2 * _PAGE,
                mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
                mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC,
            )
        except OSError as error:
            raise SldtraceError(
                f"no memory for the test: {error.strerror}", "a security module may forbid executable memory"
            ) from error
        self._memory[: len(IMAGE)] = IMAGE
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_uint64, ctypes.c_uint64)(self._base)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> Literal[False]:
        return False  # the memory goes with the object

    @property
    def address(self) -> int:
        """Where the code is."""
        return self._base

    def execute(self, split: bool) -> tuple[int, int]:
        """Executes the instruction once; the time-stamp counter before and after it."""
        self._call(self._base + (_SPLIT if split else _ALIGNED), self._base + _RESULTS)
        before, after = struct.unpack_from("<2Q", self._memory, _RESULTS)
        return before, after

    def executed(self, split: bool) -> int:
        """How often it has been executed, as the operand counts it."""
        count: int = struct.unpack_from("<I", self._memory, _SPLIT if split else _ALIGNED)[0]
        return count
