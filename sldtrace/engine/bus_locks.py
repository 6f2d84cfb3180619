"""VM exits by bus locks that were recorded one by one, of each thread."""

from typing import ClassVar

import numpy as np

from sldtrace.engine.first_last import FirstLast
from sldtrace.engine.fold import Batch
from sldtrace.engine.keys import Keys, joined
from sldtrace.host.exits import BUS_LOCK
from sldtrace.recording import schema

MOST_THREADS = 1 << 17
"""Threads with such exits; further ones are left out."""


class BusLockExits:
    """Counts the exits of each thread, and remembers the first and the last ones.

    left_out: exits of further threads.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"exit"})

    def __init__(self, most: int = MOST_THREADS) -> None:
        self._threads = Keys(most)
        self._exits = FirstLast()

    @property
    def left_out(self) -> int:
        """Exits that are not counted."""
        return self._threads.left_out

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        exits = batch.records("exit")
        isas = schema.current().enums["isa"].values
        mine = np.zeros(len(exits), bool)
        for isa, reason in BUS_LOCK.items():
            mine |= (exits["isa"] == isas[isa.upper()]) & (exits["reason"] == reason)
        if mine.any():
            exits = exits[mine]
            number = self._threads.numbers(joined(exits["tgid"], exits["tid"]))
            self._exits.add(number[number >= 0], exits["ns"][number >= 0].astype(np.int64))

    def of(self, tgid: int, tid: int) -> tuple[int, list[int]]:
        """Of one thread: how many, and the times of the first and the last ones."""
        (number,) = self._threads.look_up(joined(np.array([tgid]), np.array([tid]))).tolist()
        return (self._exits.count(number), self._exits.times([number])) if number >= 0 else (0, [])
