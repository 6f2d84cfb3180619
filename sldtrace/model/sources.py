"""Sources of signals: a timer that a VMM arms before each KVM_RUN, a periodic one, one signal, none."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

SHORTEST_NS = 10_000
"""The shortest period that is simulated; with a shorter one a thread would only handle signals."""

_BLOCK = 1 << 12


class Kind(Enum):
    """What decides when the next signal comes."""

    NONE = "none"
    ONCE = "once"  # a single one, `period_ns` after the start
    PERIODIC = "periodic"  # the clock alone: timer_create with an interval, setitimer
    REARMED = "rearmed"  # `period_ns` after the thread was back in KVM_RUN


@dataclass(frozen=True)
class Source:
    """A source of signals.

    period_ns: see `Kind`; jitter_ns: standard deviation of each signal's time, normally distributed and not
    accumulating; to_process: the signal goes to the process, and the kernel to a thread that has none pending
    (kernel/signal.c, complete_signal); signo, code: as the records have them.
    """

    kind: Kind = Kind.NONE
    period_ns: int = 0
    jitter_ns: int = 0
    to_process: bool = False
    signo: int = 10
    code: int = -2


class Noise:
    """A stream of jitter that can be read ahead; its values do not depend on how they are read."""

    def __init__(self, deviation_ns: int, seed: int) -> None:
        self._deviation = deviation_ns
        self._generator = np.random.default_rng(seed)
        self._values = np.zeros(0, np.int64)

    def ahead(self, count: int) -> npt.NDArray[np.int64]:
        """The next `count` values, ns, without using them up."""
        if len(self._values) < count:
            more = self._generator.standard_normal(max(_BLOCK, count - len(self._values)))
            fresh = np.rint(more * self._deviation).astype(np.int64)
            self._values = np.concatenate([self._values, fresh])
        return self._values[:count]

    def use(self, count: int) -> None:
        """Uses up the next `count` values."""
        self.ahead(count)
        self._values = self._values[count:]

    def one(self) -> int:
        """The next value, which is used up."""
        value = int(self.ahead(1)[0])
        self._values = self._values[1:]
        return value
