"""Values in order of threads: sums, largest values and last ones of each thread."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from sldtrace.engine.tables import Array
from sldtrace.model.early_returns import Bools, Times


class ByThread:
    """Subclasses set `heads`, the position of the first value of each thread, and give the length.

    Results have one value for each thread, in the order of heads.
    """

    heads: npt.NDArray[np.intp]

    def __len__(self) -> int:
        raise NotImplementedError

    @cached_property
    def lengths(self) -> npt.NDArray[np.intp]:
        """How many values each thread has."""
        return np.diff(self.heads, append=len(self))

    @cached_property
    def tails(self) -> npt.NDArray[np.intp]:
        """The position of the last value of each thread."""
        return self.heads + self.lengths - 1

    def sum(self, values: Array) -> Times:
        """The sum for each thread; of bools how many."""
        if values.dtype == bool:
            # They are mostly the same for all, and to convert them takes longest.
            if not values.any():
                return np.zeros(len(self.heads), np.int64)
            if values.all():
                return self.lengths.astype(np.int64)
        found: Times = np.add.reduceat(values, self.heads, dtype=np.int64)
        return found

    def most(self, values: Array) -> Times:
        """The largest value for each thread."""
        found: Times = np.maximum.reduceat(values, self.heads)
        return found

    def last_where(self, holds: Bools) -> npt.NDArray[np.intp]:
        """For each thread the position of its last value for which it holds; or -1."""
        found: npt.NDArray[np.intp] = np.where(holds, np.arange(len(self)), -1)
        return np.maximum.reduceat(found, self.heads)
