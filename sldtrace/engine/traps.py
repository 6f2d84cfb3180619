"""The traps of a slice as columns, by thread and time, with what each thread did before."""

from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt

from sldtrace.engine.by_thread import ByThread
from sldtrace.engine.columns import Columns
from sldtrace.engine.tables import Array, Table
from sldtrace.engine.threads import Numbers, Threads
from sldtrace.model import early_returns as rule
from sldtrace.model import ending
from sldtrace.model.early_returns import Bools, Times
from sldtrace.recording import schema
from sldtrace.recording.layout import Records

_OF_OUTCOME = ("flags", "sleep_left_ms", "semaphore_result")


class Outcome:
    """What trap records say about how each trap ended. Subclasses give the fields."""

    def __getitem__(self, name: str) -> Array:
        raise NotImplementedError

    def flag(self, name: str) -> Bools:
        """One bit of `flags`, by its name in bpf/events.h without the prefix."""
        bit = schema.current().enums["trap_flags"].values[name]
        found: Bools = self["flags"] & np.uint32(bit) != 0
        return found

    @cached_property
    def early(self) -> Bools:
        """Did split_lock_warn return with detection still on?"""
        return rule.returned_early({name: self[name] for name in _OF_OUTCOME})

    @cached_property
    def at_semaphore(self) -> Bools:
        """Did a signal end the wait for the semaphore?"""
        found: Bools = self["semaphore_result"] < 0
        return found

    @cached_property
    def ended_by(self) -> Array:
        """What ended it early, see model.ending; 0: nothing did."""
        return ending.endings(self.early, self["signal"], self.flag)

    @cached_property
    def detection_off(self) -> Bools:
        """Was detection switched off, so that the instruction could be executed?"""
        return rule.detection_off({name: self[name] for name in _OF_OUTCOME})


class TrapColumns(Outcome):
    """Traps as columns, in any order; `traps[mask or positions]` are some of them."""

    def __init__(self, records: Records) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, what: str) -> Array: ...
    @overload
    def __getitem__(self, what: Array) -> "TrapColumns": ...
    def __getitem__(self, what: str | Array) -> "Array | TrapColumns":
        return _signed(what, self.records[what]) if isinstance(what, str) else TrapColumns(self.records[what])


# Times and durations are less than 2^63.
def _signed(name: str, values: Array) -> Array:
    return values.view(np.int64) if values.dtype == np.uint64 and name != "rip" else values


class Traps(Outcome, ByThread):
    """The traps of one slice, by thread (in order of their numbers) and time.

    traps["start_ns"] is a field of the records in this order: times and durations as int64, addresses as
    uint64, everything else as it is stored. `heads`: the position of the first trap of each thread;
    `who`: the number of each of these threads; `thread`: the number of each trap's thread.
    """

    def __init__(self, columns: Columns, threads: Numbers, last: Records) -> None:
        """last: the last trap of each thread, by number; zero where there was none before the slice."""
        order = _order(threads, columns["start_ns"])
        self._columns = columns if order is None else columns[order]
        self._flags: dict[str, Bools] = {}
        self.thread: Numbers = threads if order is None else threads[order]
        begins = np.ones(len(columns), bool)
        begins[1:] = self.thread[1:] != self.thread[:-1]
        self.heads = np.flatnonzero(begins)
        self.who: Numbers = self.thread[self.heads]
        self.last = TrapColumns(last[self.who])

    def __len__(self) -> int:
        return len(self._columns)

    def __getitem__(self, name: str) -> Array:
        return _signed(name, self._columns[name])

    def flag(self, name: str) -> Bools:
        """See Outcome.flag."""
        found = self._flags.get(name)
        if found is None:
            found = self._flags[name] = super().flag(name)
        return found

    def records(self, positions: Array) -> Records:
        """The records of some traps."""
        found: Records = self._columns.records.take(positions)
        return found

    def before(self, column: Array, first: Array) -> Array:
        """For each trap the value of its thread's trap before; `first`: of the heads, in earlier slices."""
        found = np.empty_like(column)
        found[1:] = column[:-1]
        found[self.heads] = first
        return found

    def previous(self, name: str) -> Array:
        """A field of the thread's trap before; 0 where there is none."""
        return self.before(self[name], self.last[name])

    @cached_property
    def has_previous(self) -> Bools:
        """Is there a trap of the same thread before?"""
        found: Bools = np.ones(len(self), bool)
        found[self.heads] = self.last["end_ns"] > 0
        return found


class Tracker:
    """Numbers the threads of the traps, and remembers the last trap of each."""

    def __init__(self) -> None:
        self.threads = Threads()
        self._last = Table(schema.current().records["trap"].dtype)

    def traps(self, columns: Columns) -> Traps:
        """The next traps. Those of one thread come in order of time from slice to slice."""
        if columns.dtype != self._last.dtype:
            # A recording of another version.
            self._last = self._last.of(columns.dtype)
        numbers = self.threads.numbers(columns["tgid"], columns["tid"])
        last = self.last
        found = Traps(columns, numbers, last)
        last[found.who] = found.records(found.tails)
        return found

    @property
    def last(self) -> Records:
        """The last trap of each thread, by number."""
        return self._last.upto(len(self.threads))

    @property
    def last_ends(self) -> Times:
        """When the last trap of each thread ended."""
        found: Times = self.last["end_ns"].astype(np.int64)
        return found

    def keep(self, numbers: Array) -> None:
        """Forgets all other threads; see Threads.keep."""
        self.threads.keep(numbers)
        self._last.keep(numbers)


# By thread, then by time; None if they are so already. Records of one thread nearly always are.
def _order(threads: Numbers, starts: Array) -> npt.NDArray[np.intp] | None:
    if not len(threads):
        return None
    order = None
    if (threads[1:] < threads[:-1]).any():
        # numpy sorts numbers of up to 16 bits by radix.
        most = int(threads.max())
        order = np.argsort(threads.astype(np.uint16 if most >> 8 else np.uint8), kind="stable")
        if most >> 16:
            high = (threads >> 16).astype(np.uint16)[order]
            order = order[np.argsort(high, kind="stable")]
        threads, starts = threads[order], starts[order]
    if ((starts[1:] < starts[:-1]) & (threads[1:] == threads[:-1])).any():
        again = np.lexsort((starts, threads))
        order = again if order is None else order[again]
    return order
