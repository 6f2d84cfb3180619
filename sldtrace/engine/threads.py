"""Numbers the threads of a recording from 0, in order of appearance."""

import numpy as np
import numpy.typing as npt

from sldtrace.engine.tables import Array, Table

Numbers = npt.NDArray[np.int32]

_SLOTS = 1 << 22  # include/linux/threads.h: PID_MAX_LIMIT


class Threads:
    """A number for each pair of TGID and TID.

    A TID is looked up directly in an array. Where it was used again by another process, and for TIDs that no
    kernel gives, a dict has the number.
    """

    def __init__(self) -> None:
        self._slots: Numbers = np.zeros(1 << 12, np.int32)  # one more than the number; 0: none
        self._known: dict[int, int] = {}
        self._who = Table([("tgid", "u4"), ("tid", "u4")])

    def __len__(self) -> int:
        return len(self._known)

    @property
    def tgid(self) -> Array:
        """By number."""
        return self._who.upto(len(self))["tgid"]

    @property
    def tid(self) -> Array:
        """By number."""
        return self._who.upto(len(self))["tid"]

    def numbers(self, tgid: Array, tid: Array) -> Numbers:
        """The number of each of these threads; those that are new get one."""
        found = self._of_slots(tgid, tid)
        rest = np.flatnonzero(found < 0)
        if len(rest):
            distinct, first, inverse = _distinct(tgid[rest], tid[rest])
            each = np.zeros(len(distinct), np.int32)
            for at in np.argsort(first, kind="stable").tolist():
                each[at] = self._number(int(distinct[at]))
            found[rest] = each[inverse]
        return found

    def find(self, tgid: Array, tid: Array) -> Numbers:
        """The number of each of these threads; -1: it has none."""
        found = self._of_slots(tgid, tid)
        rest = np.flatnonzero(found < 0)
        if len(rest):
            distinct, _, inverse = _distinct(tgid[rest], tid[rest])
            each = np.array([self._known.get(key, -1) for key in distinct.tolist()], np.int32)
            found[rest] = each[inverse]
        return found

    def look_up(self, tgid: int, tid: int) -> int | None:
        """The number of one thread; None: it has none."""
        return self._known.get(tgid << 32 | tid)

    def keep(self, numbers: Array) -> None:
        """Forgets all other threads; these are numbered from 0 in this order."""
        kept = list(zip(self.tgid[numbers].tolist(), self.tid[numbers].tolist(), strict=True))
        self._slots = np.zeros(len(self._slots), np.int32)
        self._known.clear()
        for tgid, tid in kept:
            self._number(tgid << 32 | tid)

    # -1: not there.
    def _of_slots(self, tgid: Array, tid: Array) -> Numbers:
        if not len(tid):
            return np.zeros(0, np.int32)
        slot = tid & np.uint32(_SLOTS - 1)
        self._room(int(slot.max()) + 1)
        found: Numbers = self._slots[slot] - np.int32(1)
        if len(self):
            found[(self.tid[found] != tid) | (self.tgid[found] != tgid)] = -1
        return found

    def _number(self, key: int) -> int:
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self._known)
            self._who.upto(number + 1)[number] = key >> 32, key & 0xFFFF_FFFF
            slot = key & (_SLOTS - 1)
            if not self._slots[slot]:
                self._slots[slot] = number + 1
        return number

    def _room(self, count: int) -> None:
        if count > len(self._slots):
            # Zero pages: memory is taken only for the TIDs that there are.
            grown = np.zeros(1 << (count - 1).bit_length(), np.int32)
            grown[: len(self._slots)] = self._slots
            self._slots = grown


def _distinct(tgid: Array, tid: Array) -> tuple[Array, Array, Array]:
    keys = tgid.astype(np.uint64) << np.uint64(32) | tid
    distinct, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return distinct, first, inverse.reshape(-1)
