"""A map of the probes as an array of records in the recorder's memory: reading it is no bpf system call."""

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[Any]


def view(table: int, dtype: np.dtype[Any], count: int) -> Records:
    """The `count` entries of an array map (BPF_F_MMAPABLE); table: its file descriptor."""
    size = -(-dtype.itemsize * count // mmap.PAGESIZE) * mmap.PAGESIZE
    return np.frombuffer(mmap.mmap(table, size, mmap.MAP_SHARED), dtype, count)
