"""Numbers addresses of threads from 0."""

import numpy as np

from sldtrace.engine.tables import Array
from sldtrace.engine.threads import Threads


class Places:
    """A number for each thread and address; numbers that were given back are given again."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int, int], int] = {}
        self._free: list[int] = []
        self.size = 0
        """Above all numbers that are given."""

    def __len__(self) -> int:
        return len(self._numbers)

    def numbers(self, threads: Threads, thread: Array, rip: Array) -> tuple[Array, Array]:
        """The number of each of these, and which of them are new. One look-up for each different one."""
        order = np.lexsort((rip, thread))
        begins = np.ones(len(order), bool)
        begins[1:] = (np.diff(thread[order]) != 0) | (rip[order][1:] != rip[order][:-1])
        distinct = order[begins]
        who = thread[distinct]
        keys = zip(threads.tgid[who].tolist(), threads.tid[who].tolist(), rip[distinct].tolist(), strict=True)
        new: list[int] = []
        found = np.array([self._number(key, new) for key in keys], np.int64)
        numbers = np.zeros(len(thread), np.int64)
        if len(found):
            numbers[order] = found[np.cumsum(begins) - 1]
        return numbers, np.array(new, np.int64)

    def release(self, tgid: Array, tid: Array, rip: Array) -> None:
        """Gives back the numbers of these."""
        for key in zip(tgid.tolist(), tid.tolist(), rip.tolist(), strict=True):
            self._free.append(self._numbers.pop(key))

    def _number(self, key: tuple[int, int, int], new: list[int]) -> int:
        number = self._numbers.get(key)
        if number is None:
            number = self._free.pop() if self._free else self.size
            self.size = max(self.size, number + 1)
            self._numbers[key] = number
            new.append(number)
        return number
