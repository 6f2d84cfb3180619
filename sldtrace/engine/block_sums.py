"""Sums of the traps of each thread at each address, in blocks of time: for confidence intervals."""

from typing import ClassVar

import numpy as np

from sldtrace.engine.fold import Batch
from sldtrace.engine.keys import Keys, joined
from sldtrace.engine.tables import Array
from sldtrace.engine.time_columns import TimeGrid
from sldtrace.model.early_returns import Times

MOST_PLACES = 1024
"""Addresses of all threads together; further ones are not counted."""

METRICS = ("traps", "early_returns", "penalty_ns", "progress")
"""Traps and early returns; time in the sleep and in the wait for the semaphore; traps after which detection
was off, so that the instruction could execute."""


class BlockSums:
    """blocks: the times. sums: of each place, by number, METRICS in each block (of a trap's start).

    thread: number of each place's thread; rip: its address; left_out: traps at further places.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap"})

    def __init__(self, blocks: TimeGrid, most: int = MOST_PLACES) -> None:
        self.blocks = blocks
        self._addresses, self._places = Keys(most), Keys(most)
        self._sums: Times = np.zeros((0, len(METRICS), blocks.count), np.int64)

    @property
    def sums(self) -> Times:
        """Places, METRICS, blocks."""
        return self._sums[: len(self._places)]

    @property
    def thread(self) -> Array:
        """By place."""
        found: Array = (self._places.keys >> np.uint64(32)).astype(np.int64)
        return found

    @property
    def rip(self) -> Array:
        """By place."""
        found: Array = self._addresses.keys[(self._places.keys & np.uint64(0xFFFF_FFFF)).astype(np.int64)]
        return found

    @property
    def left_out(self) -> int:
        """Traps that are in no sum."""
        return self._addresses.left_out + self._places.left_out

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        traps = batch.traps
        if not len(traps):
            return
        address = self._addresses.numbers(traps["rip"])
        place = np.full(len(traps), -1, np.int64)
        known = address >= 0
        place[known] = self._places.numbers(joined(traps.thread[known], address[known]))
        mine = place >= 0
        if len(self._places) > len(self._sums):
            grown = np.zeros((2 * len(self._places), *self._sums.shape[1:]), np.int64)
            grown[: len(self._sums)] = self._sums
            self._sums = grown
        penalty = traps["sleep_ns"] + traps["semaphore_ns"]
        at = self.blocks.of(traps["start_ns"])
        flat = self._sums.reshape(-1)
        for number, values in enumerate((1, traps.early, penalty, traps.detection_off)):
            each = np.broadcast_to(np.asarray(values, np.int64), len(traps))
            row = place[mine] * len(METRICS) + number
            np.add.at(flat, row * self.blocks.count + at[mine], each[mine])
