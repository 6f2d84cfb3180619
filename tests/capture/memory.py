"""BPF maps played by memory files, laid out as the kernel does it: the real readers run on them."""

import mmap
import os
import struct

import numpy as np

BUSY, DISCARD = 1 << 31, 1 << 30  # BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT


def table(dtype: "np.dtype[np.void] | str", count: int) -> tuple[int, np.ndarray]:
    """An array map with BPF_F_MMAPABLE: its file descriptor, and its memory as the probes see it."""
    made = np.dtype(dtype)
    size = -(-made.itemsize * count // mmap.PAGESIZE) * mmap.PAGESIZE
    descriptor = os.memfd_create("map")
    os.ftruncate(descriptor, size)
    return descriptor, np.frombuffer(mmap.mmap(descriptor, size), made, count)


class RingFile:
    """The probes' end of a ring buffer of equal records.

    The data area is written twice, because a memory file cannot be mapped twice in a row.
    """

    def __init__(self, size: int, record_bytes: int, position: int = 0) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * mmap.PAGESIZE + 2 * size)
        self._size, self._record_bytes = size, record_bytes
        self.producer = position
        os.pwrite(self.fd, struct.pack("<Q", position), 0)
        os.pwrite(self.fd, struct.pack("<Q", position), mmap.PAGESIZE)

    def reserve(self, record: bytes, flags: int = 0, length: int | None = None) -> int:
        """Puts a record there, submitted unless a flag says otherwise; returns where it lies."""
        header = struct.pack("<II", (self._record_bytes if length is None else length) | flags, 0)
        slot = header + record.ljust(-(-self._record_bytes // 8) * 8, b"\0")
        at = self.producer % self._size
        first = slot[: self._size - at]
        for base in (0, self._size):
            os.pwrite(self.fd, first, 2 * mmap.PAGESIZE + base + at)
            os.pwrite(self.fd, slot[len(first) :], 2 * mmap.PAGESIZE + base)
        self.producer += len(slot)
        os.pwrite(self.fd, struct.pack("<Q", self.producer), mmap.PAGESIZE)
        return at

    def submit(self, at: int) -> None:
        """Takes the busy bit off the record there."""
        for base in (0, self._size):
            os.pwrite(self.fd, struct.pack("<I", self._record_bytes), 2 * mmap.PAGESIZE + base + at)

    def consumed(self) -> int:
        """The reader's position."""
        return int(struct.unpack("<Q", os.pread(self.fd, 8, 0))[0])
