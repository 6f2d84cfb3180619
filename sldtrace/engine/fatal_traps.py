"""Traps that ended with SIGBUS, of each thread."""

from typing import ClassVar

import numpy as np

from sldtrace.engine.fold import Batch
from sldtrace.engine.selected import Selected
from sldtrace.engine.tables import Array, Table

_FATAL = np.dtype(
    [
        ("traps", "i8"),
        ("start_ns", "i8"),
        ("end_ns", "i8"),
        ("rip", "u8"),
        ("vcpu", "i4"),
        ("vcpu_ns", "i8"),
    ]
)


class FatalTraps:
    """Of each thread the fatal traps.

    traps: how many; start_ns: when the first one started; end_ns: when the last one ended; rip: of the first
    one; vcpu: the last that is known of them, -1 for none; vcpu_ns: when the trap with this vCPU started.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap"})

    def __init__(self) -> None:
        self._threads = Table(_FATAL)
        self._count = 0

    @property
    def threads(self) -> Array:
        """One row a thread, by its number; `traps` is 0 for most."""
        return self._threads.upto(self._count)

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        self._count = len(batch.threads)
        traps = Selected(batch.traps, ~batch.traps.flag("HANDLED"))
        if not len(traps):
            return
        mine = self.threads[traps.who]  # a copy: each thread is in it once
        new = mine["traps"] == 0
        mine["traps"] += traps.lengths
        for name in ("start_ns", "rip"):
            mine[name] = np.where(new, traps[name][traps.heads], mine[name])
        mine["end_ns"] = np.maximum(mine["end_ns"], traps.most(traps["end_ns"]))
        last = traps.last_where(traps["vcpu"] >= 0)
        mine["vcpu"] = np.where(last >= 0, traps["vcpu"][last], np.where(new, -1, mine["vcpu"]))
        mine["vcpu_ns"] = np.where(last >= 0, traps["start_ns"][last], mine["vcpu_ns"])
        self.threads[traps.who] = mine
