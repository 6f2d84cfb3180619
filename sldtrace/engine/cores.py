"""The cores of many CPUs at once: MSR_TEST_CTRL is one for all CPUs of a core."""

from collections.abc import Callable

import numpy as np

from sldtrace.engine.tables import Array, distinct
from sldtrace.model.early_returns import Times

_CPUS = 1 << 16  # above any CONFIG_NR_CPUS


class Cores:
    """The core of each CPU as the number of its first CPU.

    core: gives it for one CPU; asked once for each that occurs.
    """

    def __init__(self, core: Callable[[int], int]) -> None:
        self._core = core
        self._known: Times = np.full(0, -1, np.int64)

    def of(self, cpus: Array) -> Times:
        """The cores of these CPUs."""
        most = int(cpus.max()) if len(cpus) else 0
        if most >= _CPUS:
            each, inverse = np.unique(cpus, return_inverse=True)
            cores = np.array([self._core(int(cpu)) for cpu in each], np.int64)
            return cores[inverse.reshape(-1)]
        if most >= len(self._known):
            grown: Times = np.full(most + 1, -1, np.int64)
            grown[: len(self._known)] = self._known
            self._known = grown
        found = self._known[cpus]
        if (found < 0).any():
            for cpu in distinct(cpus[found < 0]).tolist():
                self._known[cpu] = self._core(cpu)
            found = self._known[cpus]
        return found
