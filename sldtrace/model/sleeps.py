"""How long the penalty's sleep is on this kernel, by the sleeps that signals cut short."""

import numpy as np
import numpy.typing as npt

from sldtrace.model import penalty as penalties
from sldtrace.model.jiffies import jiffies_to_msecs

_ENOUGH = 20  # sleeps of less than half a jiffy: of each it is even odds that no tick came meanwhile


class Sleeps:
    """Takes sleeps in any pieces. A signal soon after a sleep's begin leaves all jiffies that were asked for,
    unless a tick has come; so the most that was ever left is what is asked for.

    A distribution may have 4381b895f544 (one jiffy less) or not, whatever the version says.
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
        """Sleeps by trap: was there one, what was asked for, the result of msleep_interruptible, the time."""
        usual = slept & (requested_ms == penalties.SLEEP_MS) & (left_ms > 0)
        if usual.any():
            self._short += int(np.count_nonzero(ns[usual] < self._tick_ns // 2))
            self._most_left_ms = max(self._most_left_ms, int(left_ms[usual].max()))

    @property
    def jiffies(self) -> int | None:
        """What msleep_interruptible(10) asks the timer wheel for, in jiffies; None: that was not seen."""
        if self._short < _ENOUGH:
            return None
        for jiffies in penalties.sleep_jiffies(self._tick_ns):
            if jiffies_to_msecs(jiffies, self._tick_ns) == self._most_left_ms:
                return jiffies
        return None
