"""The cores of many CPUs at once: MSR_TEST_CTRL is one for all CPUs of a core."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from sldtrace.model.early_returns import Times


def of_cpus(cpus: "pd.Series[int]", core: Callable[[int], int]) -> Times:
    """The core of each CPU; core: of one (trace.Trace.core), asked once for each that occurs."""
    codes, distinct = pd.factorize(cpus.to_numpy(np.int64))
    return np.array([core(int(cpu)) for cpu in distinct], np.int64)[codes]
