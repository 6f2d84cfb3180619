"""Reads a BPF ring buffer of records of one size with numpy, without a Python loop."""

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

# Layout: kernel/bpf/ringbuf.c and Documentation/bpf/ringbuf.rst. Page 0 holds the consumer's position, page 1
# the producer's, then the data follow, mapped twice in a row so that a record that wraps reads straight on.
_BUSY = np.uint32(1 << 31)  # BPF_RINGBUF_BUSY_BIT: reserved, not yet submitted
_DISCARD = np.uint32(1 << 30)  # BPF_RINGBUF_DISCARD_BIT
_HEADER_BYTES = 8  # u32 length and flags, u32 page offset

Records = npt.NDArray[Any]


class Ring:
    """The consumer of one ring buffer.

    fd: file descriptor of the map; size: bytes of its data area (a power of two); dtype: of all records.
    """

    def __init__(self, fd: int, size: int, dtype: np.dtype[Any]) -> None:
        page = mmap.PAGESIZE
        self._size = size
        self._dtype = dtype
        self._stride = _HEADER_BYTES + (dtype.itemsize + 7) // 8 * 8
        self._slot = np.dtype(
            {
                "names": ["length", "record"],
                "formats": ["<u4", dtype],
                "offsets": [0, _HEADER_BYTES],
                "itemsize": self._stride,
            }
        )
        self._consumer_map = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
        self._producer_map = mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumer = np.frombuffer(self._consumer_map, "<u8", 1)
        self._producer = np.frombuffer(self._producer_map, "<u8", 1)
        self._read = int(self._consumer[0])
        self._nothing = np.empty(0, dtype)
        self._data = np.frombuffer(self._producer_map, "u1", 2 * size, page)

    def read(self) -> Records:
        """A copy of all submitted records, oldest first; frees their space in the ring.

        Raises ValueError if a record has another size, that is if probes and schema do not match.
        """
        # x86 keeps the order of loads, and of stores, so the 8-byte position needs no barrier here.
        end = int(self._producer[0])
        if end == self._read:
            return self._nothing
        position = int(self._consumer[0])
        count = (end - position) // self._stride
        start = position & (self._size - 1)
        slots = self._data[start : start + count * self._stride].view(self._slot)
        length = slots["length"]
        # Nearly always all are submitted and none is discarded.
        if (length == self._dtype.itemsize).all():
            records: Records = slots["record"].copy()
        else:
            busy = length & _BUSY != 0
            if busy.any():
                slots = slots[: int(busy.argmax())]
                length = slots["length"]
            kept = length & _DISCARD == 0
            if (length[kept] != self._dtype.itemsize).any():
                raise ValueError(f"ring holds records that are not {self._dtype.itemsize} bytes long")
            records = slots["record"][kept]  # indexing with a mask copies
        self._consumer[0] = self._read = position + len(slots) * self._stride
        return records
