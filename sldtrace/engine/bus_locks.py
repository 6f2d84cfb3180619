"""Bus locks: VM exits by them that were recorded one by one, and those of programs (#DB)."""

from typing import ClassVar

import numpy as np

from sldtrace.engine.first_last import FirstLast
from sldtrace.engine.fold import Batch
from sldtrace.engine.keys import Keys, joined
from sldtrace.engine.tables import Array, Table
from sldtrace.host.exits import BUS_LOCK, BUS_LOCK_DETECTED, OTHER_REASONS, VMX
from sldtrace.model.early_returns import Bools
from sldtrace.recording import schema

MOST_THREADS = 1 << 17
"""Threads with bus locks, and addresses; further ones are left out."""

ROW = np.dtype(
    [
        ("tgid", "u4"),
        ("tid", "u4"),
        ("rip", "u8"),
        ("since_ns", "i8"),
        ("ns", "i8"),
        ("count", "i8"),
        ("handler_ns", "i8"),
    ]
)


def bus_lock_exits(isa: Array, reason: Array) -> Bools:
    """For each exit: is it by a bus lock of the guest, or had the guest one before it? isa: enum sld_isa."""
    isas = schema.current().enums["isa"]
    found: Bools = np.zeros(len(reason), bool)
    for name, by_lock in BUS_LOCK.items():
        found |= (isa == isas.values[name.upper()]) & (reason == by_lock)
    flagged = (reason & BUS_LOCK_DETECTED != 0) & (reason != OTHER_REASONS)
    found |= flagged & (isa == isas.values[VMX.upper()])
    return found


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
        mine = bus_lock_exits(exits["isa"], exits["reason"])
        if mine.any():
            exits = exits[mine]
            number = self._threads.numbers(joined(exits["tgid"], exits["tid"]))
            self._exits.add(number[number >= 0], exits["ns"][number >= 0].astype(np.int64))

    def of(self, tgid: int, tid: int) -> tuple[int, list[int]]:
        """Of one thread: how many, and the times of the first and the last ones."""
        (number,) = self._threads.look_up(joined(np.array([tgid]), np.array([tid]))).tolist()
        return (self._exits.count(number), self._exits.times([number])) if number >= 0 else (0, [])


class BusLockSums:
    """The sums of the `bus_lock` records of each thread and address, by their first record.

    rows: of ROW: count and handler_ns are sums, since_ns is the first and ns the last time. left_out: records
    that are in no row.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"bus_lock"})

    def __init__(self, most: int = MOST_THREADS) -> None:
        self._threads, self._addresses, self._both = Keys(most), Keys(most), Keys(most)
        self._rows = Table(ROW)
        self._records = FirstLast()

    @property
    def rows(self) -> Array:
        """One row for each thread and address."""
        return self._rows.upto(len(self._both))

    @property
    def left_out(self) -> int:
        """Records that are in no row."""
        return self._both.left_out

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        records = batch.records("bus_lock")
        if not len(records):
            return
        known = len(self._both)
        thread = self._threads.numbers(joined(records["tgid"], records["tid"]))
        address = self._addresses.numbers(records["rip"].astype(np.uint64))
        ok = (thread >= 0) & (address >= 0)
        self._both.left_out += int(np.count_nonzero(~ok))
        number = np.full(len(records), -1, np.int64)
        number[ok] = self._both.numbers(joined(thread[ok], address[ok]))
        records, thread, number = records[number >= 0], thread[number >= 0], number[number >= 0]
        self._records.add(thread, records["ns"].astype(np.int64))
        rows = self.rows
        rows["since_ns"][known:] = np.iinfo(np.int64).max
        for name in ("tgid", "tid", "rip"):
            rows[name][number] = records[name]
        for name in ("count", "handler_ns"):
            np.add.at(rows[name], number, records[name].astype(np.int64))
        np.minimum.at(rows["since_ns"], number, records["since_ns"].astype(np.int64))
        np.maximum.at(rows["ns"], number, records["ns"].astype(np.int64))

    def of(self, tgid: int, tid: int) -> tuple[int, list[int]]:
        """Of one thread: how many records, and the times of the first and the last ones."""
        (number,) = self._threads.look_up(joined(np.array([tgid]), np.array([tid]))).tolist()
        return (self._records.count(number), self._records.times([number])) if number >= 0 else (0, [])
