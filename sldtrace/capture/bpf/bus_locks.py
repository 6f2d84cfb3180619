"""Reads the counters of bus locks from the memory of bus_lock.bpf.c, as `bus_lock` records."""

import contextlib
import time
from collections.abc import Mapping

import numpy as np

from sldtrace.capture.bpf import syscalls
from sldtrace.capture.bpf.mapped import Records, view
from sldtrace.recording import schema

COUNTERS = schema.enumeration("bus_locks").values["LOCKS"]

# struct sld_bus_lock_counter of bus_lock.bpf.c.
COUNTER = np.dtype(
    [
        ("since_ns", "<u8"),
        ("ended_ns", "<u8"),
        ("count", "<u8"),
        ("handler_ns", "<u8"),
        ("rip", "<u8"),
        ("tgid", "<u4"),
        ("tid", "<u4"),
        ("next", "<u4"),
        ("reserved", "<u4"),
    ]
)
_SUMS = ("count", "handler_ns")


class BusLocks:
    """The counters of one program; `maps` are file descriptors by name. All are free at first."""

    def __init__(self, maps: Mapping[str, int]) -> None:
        self._free = maps["free_bus_locks"]
        self._counters = view(maps["bus_locks"], COUNTER, COUNTERS)
        self._before = np.zeros(COUNTERS, COUNTER)
        self._read_ns = time.monotonic_ns()
        for index in range(COUNTERS - 1, 0, -1):
            self._release(index)

    def read(self) -> Records:
        """`bus_lock` records since the last call. Frees the counters of threads that have ended."""
        now = time.monotonic_ns()
        # Once a thread has ended, its counters are final.
        ended = np.flatnonzero(self._counters["ended_ns"])
        counters, before = self._counters.copy(), self._before
        # handler_ns alone changes with the end of a bus lock that was counted before.
        grown = (counters["count"] != before["count"]) | (counters["handler_ns"] != before["handler_ns"])
        used = np.flatnonzero(grown)
        records = np.zeros(len(used), schema.current().records["bus_lock"].dtype)
        records["ns"] = now
        records["since_ns"] = np.maximum(counters["since_ns"][used], self._read_ns)
        for name in _SUMS:
            records[name] = counters[name][used] - before[name][used]
        for name in ("rip", "tgid", "tid"):
            records[name] = counters[name][used]
        self._before = counters
        self._read_ns = now
        for index in ended.tolist():
            self._counters[index] = self._before[index] = np.zeros((), COUNTER)
            # Last: now another thread may take it.
            self._release(index)
        return records

    def _release(self, index: int) -> None:
        with contextlib.suppress(OSError):
            syscalls.map_push(self._free, index.to_bytes(4, "little"))
