"""The length of the penalty's sleep on this kernel, from sleeps that signals ended."""

import numpy as np
import numpy.typing as npt

from sldtrace.model import penalty as penalties
from sldtrace.model.jiffies import jiffies_to_msecs

_ENOUGH = 20  # sleeps of less than half a jiffy; in each there was no tick with a chance of one half


class Sleeps:
    """Finds the timeout of msleep_interruptible(10) in jiffies, from batches of sleeps.

    A signal soon after the start of a sleep leaves all its jiffies, unless there was a tick; so the maximum
    left is the timeout. Whether a kernel has 4381b895f544 (one jiffy less) does not follow from its version,
    because of backports.
    """

    def __init__(self, tick_ns: int) -> None:
        """tick_ns: length of a jiffy."""
        self._tick_ns = tick_ns
        self._short = 0
        self._most_left_ms = 0

    def add(
        self,
        slept: npt.NDArray[np.bool_],
        requested_ms: npt.NDArray[np.integer],
        left_ms: npt.NDArray[np.integer],
        ns: npt.NDArray[np.integer],
    ) -> None:
        """Adds traps: whether they slept, argument and result of msleep_interruptible, duration."""
        usual = slept & (requested_ms == penalties.SLEEP_MS) & (left_ms > 0)
        self._short += int(np.count_nonzero(usual & (ns < self._tick_ns // 2)))
        self._most_left_ms = max(self._most_left_ms, int((left_ms * usual).max(initial=0)))

    @property
    def jiffies(self) -> int | None:
        """The timeout of msleep_interruptible(10) in jiffies; None: too few sleeps to know."""
        if self._short < _ENOUGH:
            return None
        for jiffies in penalties.sleep_jiffies(self._tick_ns):
            if jiffies_to_msecs(jiffies, self._tick_ns) == self._most_left_ms:
                return jiffies
        return None
