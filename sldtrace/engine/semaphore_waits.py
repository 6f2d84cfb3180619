"""Waits for the penalty's semaphore, of each thread, and how often it is held by any."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sldtrace.engine.first_last import FirstLast
from sldtrace.engine.fold import Batch
from sldtrace.engine.selected import Selected
from sldtrace.engine.tables import Array, Table, distinct
from sldtrace.model.early_returns import Times

WAIT_JIFFIES = 1
"""A wait that counts, at least."""

MOST_OPEN = 1 << 17
"""Holds that end later than any trap started yet; of more, the earliest ends count as past."""

_THREAD = np.dtype(
    [
        ("waits", "i8"),
        ("waited_ns", "i8"),
        ("longest_ns", "i8"),
        ("holds", "i8"),
        ("first_wait_ns", "i8"),  # start of its trap
        ("last_wait_ns", "i8"),  # end of its trap
        ("before", "i8"),  # holds of all threads that ended before first_wait_ns
        ("upto", "i8"),  # until last_wait_ns
        ("first_hold_ns", "i8"),  # ends of traps
        ("last_hold_ns", "i8"),
    ]
)


@dataclass(frozen=True)
class Queue:
    """What some threads waited for, from the start of their first wait's trap to the end of the last one's.

    completed: traps of any thread that held the semaphore and ended in this time; holders: their threads. A
    thread is also counted if it held the semaphore before and after this time, but not in it.
    """

    start_ns: int
    end_ns: int
    completed: int
    holders: int


class SemaphoreWaits:
    """Of each thread: waits that got the semaphore and took WAIT_JIFFIES or more, and holds.

    waits, waited_ns, longest_ns: of these waits; holds: traps that took the semaphore and switched detection
    off. A wait that a signal ended does not count. shown: the first and the last waits of each thread.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap"})

    def __init__(self, tick_ns: int) -> None:
        self._least_ns = WAIT_JIFFIES * tick_ns
        self._table = Table(_THREAD)
        self._count = 0
        self.shown = FirstLast()
        self._pending: Array = np.zeros(0, np.int32)  # threads whose `upto` is not known yet
        # Ends of holds: how many are before _horizon_ns, the last start of a trap, and the others in order.
        self._horizon_ns = 0
        self._past = 0
        self._open: Times = np.zeros(0, np.int64)

    @property
    def threads(self) -> Array:
        """One row a thread, by its number."""
        return self._table.upto(self._count)

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        traps = batch.traps
        self._count = len(batch.threads)
        if not len(traps):
            return
        took = traps.flag("SEMAPHORE")
        holds = Selected(traps, took & traps.detection_off)
        waited = took & (traps["semaphore_result"] == 0) & (traps["semaphore_ns"] >= self._least_ns)
        self._horizon_ns = max(self._horizon_ns, int(traps["start_ns"].max()))
        self._open = np.sort(np.concatenate([self._open, holds["end_ns"]]))
        self._add_holds(holds)
        self._add_waits(Selected(traps, waited))
        past = int(np.searchsorted(self._open, self._horizon_ns))
        past = max(past, len(self._open) - MOST_OPEN)
        self._past += past
        self._open = self._open[past:].copy()

    def queue(self, threads: Array) -> Queue:
        """Of the threads with these numbers, at least one; all have waited."""
        self._resolve(self._horizon_ns)
        rows = self.threads[threads]
        first, last = rows[np.argmin(rows["first_wait_ns"])], rows[np.argmax(rows["last_wait_ns"])]
        start, end = int(first["first_wait_ns"]), int(last["last_wait_ns"])
        every = self.threads
        inside = (every["holds"] > 0) & (every["first_hold_ns"] <= end) & (every["last_hold_ns"] >= start)
        return Queue(start, end, int(last["upto"] - first["before"]), int(np.count_nonzero(inside)))

    def _add_holds(self, holds: Selected) -> None:
        if not len(holds):
            return
        mine = self.threads[holds.who]
        ends = holds["end_ns"]
        mine["first_hold_ns"] = np.where(mine["holds"] == 0, ends[holds.heads], mine["first_hold_ns"])
        mine["last_hold_ns"] = np.maximum(mine["last_hold_ns"], holds.most(ends))
        mine["holds"] += holds.lengths
        self.threads[holds.who] = mine

    def _add_waits(self, waits: Selected) -> None:
        if len(waits):
            mine = self.threads[waits.who]
            starts, ends, lengths = (waits[name] for name in ("start_ns", "end_ns", "semaphore_ns"))
            new = mine["waits"] == 0
            first = starts[waits.heads]
            mine["first_wait_ns"] = np.where(new, first, mine["first_wait_ns"])
            before = self._past + np.searchsorted(self._open, first)
            mine["before"] = np.where(new, before, mine["before"])
            mine["last_wait_ns"] = np.maximum(mine["last_wait_ns"], waits.most(ends))
            mine["waits"] += waits.lengths
            mine["waited_ns"] += waits.sum(lengths)
            mine["longest_ns"] = np.maximum(mine["longest_ns"], waits.most(lengths))
            self.threads[waits.who] = mine
            self.shown.add_runs(waits.who, waits.heads, waits.lengths, starts)
            self._pending = distinct(np.append(self._pending, waits.who))
        if len(self._pending):
            self._pending = self._resolve(self._horizon_ns)

    # Sets `upto` of the pending threads; returns those that still wait for traps after the horizon.
    def _resolve(self, horizon_ns: int) -> Array:
        rows = self.threads
        ends = rows["last_wait_ns"][self._pending]
        rows["upto"][self._pending] = self._past + np.searchsorted(self._open, ends, "right")
        found: Array = self._pending[ends > horizon_ns]
        return found
