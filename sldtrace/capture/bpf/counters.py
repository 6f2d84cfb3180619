"""Reads the counters of VM exits from the memory of vcpu.bpf.c, as `counts` records."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from sldtrace.capture.bpf import slots
from sldtrace.capture.bpf.mapped import Records, view
from sldtrace.recording import schema

_SIZES = schema.enumeration("counters").values
_CELLS, _LOG2S = _SIZES["CELLS"], _SIZES["LOG2S"]

# struct sld_cell and struct sld_vcpu of thread.bpf.c.
CELL = np.dtype(
    [
        ("count", "<u8"),
        ("guest_ns", "<u8"),
        ("host_ns", "<u8"),
        ("reason", "<u4"),
        ("vector", "<i4"),
        ("kind", "<u4"),
        ("isa", "<u2"),
        ("log2", "<u2"),
        ("host_log2", "<u4", (_LOG2S,)),
    ]
)
VCPU = np.dtype(
    [
        ("tid", "<u4"),
        ("tgid", "<u4"),
        ("vcpu", "<i4"),
        ("cell", "<u4"),
        ("since_ns", "<u8"),
        ("ended_ns", "<u8"),
        ("entry_ns", "<u8"),
        ("last_ns", "<u8"),
        ("recent_until_ns", "<u8"),
        ("exits", "<u8"),
        ("guest_ns", "<u8"),
        ("pending", schema.current().records["exit"].dtype),
        ("cells", CELL, (_CELLS,)),
    ]
)
_NO_CELL = 0xFFFFFFFF
_SUMS = ("count", "guest_ns", "host_ns", "host_log2")


class Counters:
    """The counters of one program; `maps` are file descriptors by name."""

    def __init__(self, maps: Mapping[str, int]) -> None:
        self._free_slots = maps["free_slots"]
        self._vcpus = view(maps["vcpus"], VCPU, slots.count() + 1)
        # Not 0: the exits of the slot's thread are followed. The rest of `_vcpus` is never touched: it would
        # be mapped into the recorder's memory.
        self._followed = view(maps["followed"], np.dtype("<u8"), slots.count() + 1)
        # The cells of each entry at the last call of `read`.
        self._before: dict[int, Records] = {}
        self._read_ns = time.monotonic_ns()

    def read(self) -> Records:
        """`counts` records since the last call. Frees the slots of threads that have ended."""
        now = time.monotonic_ns()
        parts = []
        ended = []
        for slot in np.flatnonzero(self._followed):
            index = int(slot)
            # This first: once the thread has ended, the cells are final.
            has_ended = bool(self._vcpus["ended_ns"][index])
            who = self._vcpus[index].copy()
            cells = who["cells"]
            before = self._before.get(index)
            if before is None:
                before = np.zeros(_CELLS, CELL)
            # host_ns alone changes with the entry after an exit that was counted before.
            used = np.flatnonzero(
                (cells["count"] != before["count"]) | (cells["host_ns"] != before["host_ns"])
            )
            if len(used):
                parts.append(self._records(who, cells[used], before[used], now))
            self._before[index] = cells
            if has_ended:
                ended.append(index)
        for index in ended:
            self._free(index)
        self._read_ns = now
        return np.concatenate(parts) if parts else np.empty(0, schema.current().records["counts"].dtype)

    def exits(self) -> int:
        """VM exits of the threads that are followed now, since the start."""
        return int(self._vcpus["exits"][np.flatnonzero(self._followed)].sum())

    def drop_pending(self) -> int:
        """Drops exits whose VM entry was not seen; how many. Call it when the probes are detached."""
        used = np.flatnonzero(self._followed)
        pending = int(np.count_nonzero(self._vcpus["pending"]["ns"][used]))
        for name in ("entry_ns", "last_ns"):
            self._vcpus[name][used] = 0
        self._vcpus["cell"][used] = _NO_CELL
        self._vcpus["pending"]["ns"][used] = 0
        return pending

    def _records(self, who: Any, cells: Records, before: Records, now: int) -> Records:
        records = np.zeros(len(cells), schema.current().records["counts"].dtype)
        records["ns"] = now
        records["since_ns"] = max(self._read_ns, int(who["since_ns"]))
        for name in _SUMS:
            records[name] = cells[name] - before[name]
        for name in ("reason", "vector", "isa"):
            records[name] = cells[name]
        records["tgid"], records["tid"], records["vcpu"] = who["tgid"], who["tid"], who["vcpu"]
        return records

    def _free(self, index: int) -> None:
        del self._before[index]
        self._vcpus[index] = np.zeros((), VCPU)
        self._followed[index] = 0
        # Last: now another thread may take the slot.
        slots.release(self._free_slots, index)
