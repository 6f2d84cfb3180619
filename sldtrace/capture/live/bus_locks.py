"""The bus locks of each thread of a running recording: of programs (#DB), and of guests (VM exits)."""

from typing import ClassVar

import numpy as np

from sldtrace.engine.bus_locks import bus_lock_exits
from sldtrace.engine.tables import Array

ROW = np.dtype(
    [
        ("tgid", "u4"),
        ("tid", "u4"),
        ("vcpu", "i4"),
        ("guest", "?"),
        ("rip", "u8"),
        ("bus_locks", "i8"),
        ("bus_lock_ns", "i8"),
    ]
)


class BusLocks:
    """Adds up the bus locks of each thread.

    most: threads that are kept, those whose newest bus lock is the newest.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"bus_lock", "counts"})

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[tuple[int, int], tuple[int, ...]] = {}

    def add(self, kind: str, records: Array) -> None:
        """Takes records of one of `kinds`."""
        if kind == "counts":
            for one in records[bus_lock_exits(records["isa"], records["reason"])]:
                self._add(one, int(one["vcpu"]), True, 0, 0)
        else:
            for one in records:
                self._add(one, -1, False, int(one["rip"]), int(one["handler_ns"]))
        while len(self._rows) > self._most:
            del self._rows[next(iter(self._rows))]

    def _add(self, one: np.void, vcpu: int, guest: bool, rip: int, ns: int) -> None:
        key = int(one["tgid"]), int(one["tid"])
        # The newest is last.
        *_, count, before_ns = self._rows.pop(key, (0, 0))
        self._rows[key] = (vcpu, guest, rip, count + int(one["count"]), before_ns + ns)

    def rows(self) -> Array:
        """A row of ROW for each thread; rip: of the newest (a program); bus_lock_ns: in handle_bus_lock."""
        return np.array([(*key, *row) for key, row in self._rows.items()], ROW)
