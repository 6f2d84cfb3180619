"""Some of the traps of a slice, by thread and time."""

import numpy as np
import numpy.typing as npt

from sldtrace.engine.by_thread import ByThread
from sldtrace.engine.tables import Array
from sldtrace.engine.traps import Traps
from sldtrace.model.early_returns import Bools


class Selected(ByThread):
    """The traps for which a mask holds, in their order; all arrays are of these only.

    at: their positions; who: the numbers of their threads, each once; heads: where each thread begins.
    """

    def __init__(self, traps: Traps, mask: Bools) -> None:
        self._traps = traps
        self.at: npt.NDArray[np.intp] = np.flatnonzero(mask)
        self._all = len(self.at) == len(traps)
        self.heads, self.who = traps.heads, traps.who
        if not self._all:
            thread = traps.thread[self.at]
            begins = np.ones(len(self.at), bool)
            begins[1:] = thread[1:] != thread[:-1]
            self.heads = np.flatnonzero(begins)
            self.who = thread[self.heads]

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, name: str) -> Array:
        return self.of(self._traps[name])

    def flag(self, name: str) -> Bools:
        """See Outcome.flag."""
        return self.of(self._traps.flag(name))

    def of(self, column: Array) -> Array:
        """The values of a column of all traps."""
        return column if self._all else column[self.at]
