"""Sums of the traps of each thread."""

from typing import ClassVar

import numpy as np

from sldtrace.engine.fold import Batch
from sldtrace.engine.tables import Array, Table

_SUMS = np.dtype(
    [
        ("traps", "i8"),
        ("early_returns", "i8"),
        ("completed", "i8"),
        ("not_penalized", "i8"),
        ("fatal", "i8"),
        ("slept_ns", "i8"),
        ("waited_ns", "i8"),
        ("start_ns", "i8"),
        ("end_ns", "i8"),
        ("vcpu", "i4"),
        ("guest", "?"),
    ]
)


class ThreadSums:
    """Of each thread: numbers of traps by how they ended, time in penalties, first start and last end.

    traps, early_returns, completed, not_penalized, fatal: counts; slept_ns, waited_ns: in the sleep (no
    longer than the longest one of this kernel) and at the semaphore; vcpu: the last that is known, -1 for
    none; guest: was any trap a guest's?
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap"})

    def __init__(self, longest_sleep_ns: int) -> None:
        self._longest_ns = longest_sleep_ns
        self._sums = Table(_SUMS)
        self._count = 0

    @property
    def sums(self) -> Array:
        """One row a thread, by its number."""
        return self._sums.upto(self._count)

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        traps = batch.traps
        known, self._count = self._count, len(batch.threads)
        if not len(traps):
            return
        sums = self.sums
        sums["start_ns"][known:] = np.iinfo(np.int64).max
        sums["vcpu"][known:] = -1
        mine = sums[traps.who]  # a copy: each thread is in it once
        whole = traps.flag("HANDLED") & ~traps.early & ~traps.flag("RETURN_MISSED")
        slept = traps.flag("SLEPT")
        mine["traps"] += traps.lengths
        for name, values in (
            ("early_returns", traps.early),
            ("completed", whole & slept),
            ("not_penalized", whole & ~slept),
            ("fatal", ~traps.flag("HANDLED")),
            ("slept_ns", np.minimum(traps["sleep_ns"], self._longest_ns)),
            ("waited_ns", traps["semaphore_ns"]),
        ):
            mine[name] += traps.sum(values)
        mine["start_ns"] = np.minimum(mine["start_ns"], traps["start_ns"][traps.heads])
        mine["end_ns"] = np.maximum(mine["end_ns"], np.maximum.reduceat(traps["end_ns"], traps.heads))
        mine["guest"] |= np.logical_or.reduceat(traps.flag("GUEST"), traps.heads)
        last = traps.last_where(traps["vcpu"] >= 0)
        mine["vcpu"] = np.where(last >= 0, traps["vcpu"][last], mine["vcpu"])
        sums[traps.who] = mine

    def keep(self, threads: Array) -> None:
        """See fold.LiveSummary."""
        self._sums.keep(threads)
        self._count = len(threads)
