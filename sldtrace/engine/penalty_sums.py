"""Sums of the traps with a penalty, of each thread."""

from typing import ClassVar

import numpy as np

from sldtrace.engine.first_last import FirstLast
from sldtrace.engine.fold import Batch
from sldtrace.engine.keys import Keys, joined
from sldtrace.engine.selected import Selected
from sldtrace.engine.tables import Array, Table
from sldtrace.engine.traps import Outcome
from sldtrace.model.early_returns import Bools, Times

MOST_ADDRESSES = 1 << 17
"""Different addresses, and addresses of all threads together; further ones are not counted."""

_SUMS = np.dtype(
    [
        ("traps", "i8"),
        ("completed", "i8"),
        ("early_returns", "i8"),
        ("slept_ns", "i8"),
        ("late_ns", "i8"),
        ("waited_ns", "i8"),
        ("last_lost_ns", "i8"),
        ("longest_ns", "i8"),
        ("start_ns", "i8"),
        ("last_start_ns", "i8"),
        ("end_ns", "i8"),
        ("watched", "i8"),
        ("guest_ns", "i8"),
        ("addresses", "i8"),
        ("rip", "u8"),
        ("vcpu", "i4"),
        ("guest", "?"),
    ]
)


class PenaltySums:
    """Of each thread the traps with a penalty: a sleep, a wait for the semaphore, or both.

    traps, completed, early_returns: counts; slept_ns, waited_ns: in the sleep and at the semaphore;
    late_ns: by which sleeps were longer than the longest one of this kernel (slept_ns is without it);
    last_lost_ns: both, in the last trap; longest_ns: both, in one trap; start_ns, last_start_ns: starts of
    the first and of the last trap; end_ns: the last end; watched: traps for which VM exits were watched;
    guest_ns: of these but the first; addresses: how many, rip: the first one; vcpu: the last that is known,
    -1 for none; guest: was any trap a guest's? shown: the first and the last traps of each thread.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap"})

    def __init__(self, longest_sleep_ns: int, most: int = MOST_ADDRESSES) -> None:
        self._longest_ns = longest_sleep_ns
        self._sums = Table(_SUMS)
        self._count = 0
        self.shown = FirstLast()
        self._addresses, self._places = Keys(most), Keys(most)

    @property
    def sums(self) -> Array:
        """One row a thread, by its number."""
        return self._sums.upto(self._count)

    def threads_between(self, start_ns: Array, end_ns: Array) -> Times:
        """For each span of time how many threads had penalties in it.

        A thread is also counted if it had penalties before and after this time, but not in it.
        """
        some = self.sums[self.sums["traps"] > 0]
        begun = np.searchsorted(np.sort(some["start_ns"]), end_ns, "right")
        found: Times = begun - np.searchsorted(np.sort(some["last_start_ns"]), start_ns)
        return found

    @property
    def left_out(self) -> int:
        """Traps at further addresses: they are not counted as addresses only."""
        return self._addresses.left_out + self._places.left_out

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        self._count = len(batch.threads)
        if not len(batch.traps):
            return
        penalized = _penalized(batch.traps)
        traps = Selected(batch.traps, penalized)
        if not len(traps):
            return
        mine = self.sums[traps.who]  # a copy: each thread is in it once
        self._add(mine, traps, traps.of(batch.traps.early))
        # An address is new only where the trap before had another one, or no penalty.
        before = batch.traps.before(penalized, _penalized(batch.traps.last))
        same = before & batch.traps.has_previous & (batch.traps["rip"] == batch.traps.previous("rip"))
        self.sums[traps.who] = mine
        self.shown.add_runs(traps.who, traps.heads, traps.lengths, traps["start_ns"])
        self._add_addresses(Selected(batch.traps, penalized & ~same))

    def _add(self, mine: Array, traps: Selected, early: Bools) -> None:
        new = mine["traps"] == 0
        sleep, wait = np.minimum(traps["sleep_ns"], self._longest_ns), traps["semaphore_ns"]
        starts = traps["start_ns"]
        for name, values in (
            ("completed", ~early),
            ("early_returns", early),
            ("slept_ns", sleep),
            ("late_ns", traps["sleep_ns"] - sleep),
            ("waited_ns", wait),
        ):
            mine[name] += traps.sum(values)
        mine["traps"] += traps.lengths
        mine["last_lost_ns"] = (sleep + wait)[traps.tails]
        mine["longest_ns"] = np.maximum(mine["longest_ns"], traps.most(sleep + wait))
        mine["start_ns"] = np.where(new, starts[traps.heads], mine["start_ns"])
        mine["rip"] = np.where(new, traps["rip"][traps.heads], mine["rip"])
        mine["last_start_ns"] = starts[traps.tails]
        mine["end_ns"] = np.maximum(mine["end_ns"], traps.most(traps["end_ns"]))
        mine["guest"] |= np.logical_or.reduceat(traps.flag("GUEST"), traps.heads)
        self._add_guest_time(mine, traps)
        last = traps.last_where(traps["vcpu"] >= 0)
        mine["vcpu"] = np.where(last >= 0, traps["vcpu"][last], np.where(new, -1, mine["vcpu"]))

    def _add_guest_time(self, mine: Array, traps: Selected) -> None:
        watched = traps.flag("EXITS_WATCHED")
        if not watched.any():
            return
        first = np.minimum.reduceat(np.where(watched, np.arange(len(traps)), len(traps)), traps.heads)
        none = (mine["watched"] > 0) | (first == len(traps))
        guest_ns = np.where(watched, traps["guest_ns"], 0)
        skipped = np.where(none, 0, guest_ns[np.minimum(first, len(traps) - 1)])
        mine["guest_ns"] += traps.sum(guest_ns) - skipped
        mine["watched"] += traps.sum(watched)

    def _add_addresses(self, traps: Selected) -> None:
        if not len(traps):
            return
        addresses = self._addresses.numbers(traps["rip"])
        threads = np.repeat(traps.who, traps.lengths)[addresses >= 0]
        known = len(self._places)
        self._places.numbers(joined(threads, addresses[addresses >= 0]))
        added = (self._places.keys[known:] >> np.uint64(32)).astype(np.int64)
        self.sums["addresses"] += np.bincount(added, minlength=self._count)


def _penalized(traps: Outcome) -> Bools:
    return (traps.flag("SLEPT") | traps.flag("SEMAPHORE")) & traps.flag("HANDLED")
