"""Returns memory to the kernel that only the start of the recorder needed."""

import contextlib
import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

from sldtrace.host.libc import libc

_MADV_DONTNEED = 4  # include/uapi/asm-generic/mman-common.h
_SMAPS = Path("/proc/self/smaps")
_MAPPING = re.compile(
    r"^(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<rights>\S{4}) \S+ \S+ \S+ +/\S.*$", re.MULTILINE
)

libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def trim() -> None:
    """Returns free heap and the pages of unmodified file mappings to the kernel.

    Pages of a private, read-only file mapping without private copies (smaps: Anonymous is 0) come back from
    the page cache at the next access.
    """
    with contextlib.suppress(AttributeError):  # glibc has it, musl does not
        libc.malloc_trim(0)
    with contextlib.suppress(OSError):
        for start, end in unmodified(_SMAPS.read_text(errors="replace")):
            libc.madvise(start, end - start, _MADV_DONTNEED)


def unmodified(smaps: str) -> Iterator[tuple[int, int]]:
    """Start and end of each private file mapping that is not writable and has no private copy of a page.

    smaps: the text of /proc/PID/smaps (proc_pid_smaps(5)).
    """
    found = list(_MAPPING.finditer(smaps))
    headers = [match.start() for match in re.finditer(r"^[0-9a-f]+-[0-9a-f]+ ", smaps, re.MULTILINE)]
    for match in found:
        rest = smaps[match.end() : next((at for at in headers if at > match.start()), len(smaps))]
        private = match["rights"][1] == "-" and match["rights"][3] == "p"
        if private and re.search(r"^Anonymous: +0 kB$", rest, re.MULTILINE):
            yield int(match["start"], 16), int(match["end"], 16)
