"""Some of the traps of a slice, by thread and time."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from sldtrace.engine.tables import Array
from sldtrace.engine.threads import Numbers
from sldtrace.engine.traps import Traps
from sldtrace.model.early_returns import Bools, Times


class Selected:
    """The traps for which a mask holds, in their order; all arrays are of these only.

    at: their positions; who: the numbers of their threads, each once; heads: where each thread begins.
    """

    def __init__(self, traps: Traps, mask: Bools) -> None:
        self._traps = traps
        self.at: npt.NDArray[np.intp] = np.flatnonzero(mask)
        thread = traps.thread[self.at] if len(traps) else np.zeros(0, np.int32)
        begins = np.ones(len(self.at), bool)
        begins[1:] = thread[1:] != thread[:-1]
        self.heads: npt.NDArray[np.intp] = np.flatnonzero(begins)
        self.who: Numbers = thread[self.heads]

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, name: str) -> Array:
        return self.of(self._traps[name])

    def flag(self, name: str) -> Bools:
        """See Outcome.flag."""
        return self.of(self._traps.flag(name))

    def of(self, column: Array) -> Array:
        """The values of a column of all traps."""
        found: Array = column[self.at]
        return found

    @cached_property
    def lengths(self) -> npt.NDArray[np.intp]:
        """How many each thread has."""
        return np.diff(self.heads, append=len(self))

    @cached_property
    def tails(self) -> npt.NDArray[np.intp]:
        """Where each thread ends: the position of its last one."""
        return self.heads + self.lengths - 1

    def sum(self, values: Array) -> Times:
        """The sum for each thread; of bools how many."""
        found: Times = np.add.reduceat(values, self.heads, dtype=np.int64)
        return found

    def most(self, values: Array) -> Times:
        """The largest value for each thread."""
        found: Times = np.maximum.reduceat(values, self.heads)
        return found

    def last_where(self, holds: Bools) -> npt.NDArray[np.intp]:
        """For each thread the position of its last one for which it holds; or -1."""
        found: npt.NDArray[np.intp] = np.where(holds, np.arange(len(self)), -1)
        return np.maximum.reduceat(found, self.heads)
