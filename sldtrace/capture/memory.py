"""Gives memory back that only the start needed: the recorder may stay for days."""

import contextlib
import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

_MADV_DONTNEED = 4  # include/uapi/asm-generic/mman-common.h
_SMAPS = Path("/proc/self/smaps")
_MAPPING = re.compile(
    r"^(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<rights>\S{4}) \S+ \S+ \S+ +/\S.*$", re.MULTILINE
)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def trim() -> None:
    """Returns free heap to the kernel, and lets go of code that was needed to get here.

    Mappings of files that are not writable and of which not one page is our own copy (smaps: Anonymous is 0)
    come back from the page cache when they are touched again.
    """
    with contextlib.suppress(AttributeError):  # glibc has it, musl does not
        _libc.malloc_trim(0)
    with contextlib.suppress(OSError):
        for start, end in unmodified(_SMAPS.read_text(errors="replace")):
            _libc.madvise(start, end - start, _MADV_DONTNEED)


def unmodified(smaps: str) -> Iterator[tuple[int, int]]:
    """Start and end of each private file mapping that is not writable and holds no page of our own.

    smaps: the text of /proc/PID/smaps (proc_pid_smaps(5)).
    """
    found = list(_MAPPING.finditer(smaps))
    headers = [match.start() for match in re.finditer(r"^[0-9a-f]+-[0-9a-f]+ ", smaps, re.MULTILINE)]
    for match in found:
        rest = smaps[match.end() : next((at for at in headers if at > match.start()), len(smaps))]
        private = match["rights"][1] == "-" and match["rights"][3] == "p"
        if private and re.search(r"^Anonymous: +0 kB$", rest, re.MULTILINE):
            yield int(match["start"], 16), int(match["end"], 16)
