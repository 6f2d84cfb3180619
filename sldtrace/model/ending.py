"""What ended a penalty's sleep, or its wait for the semaphore, early: a signal, or something else.

signal_pending() is true for a signal that the thread does not block, and without one for a request to stop
or to freeze it (fake_signal_wake_up, ptrace_signal_wake_up) and for task work (TIF_NOTIFY_SIGNAL). What the
probes read of the thread at that moment tells most of these apart (bpf/pending.bpf.c).
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt


class Ending(IntEnum):
    """What is no signal with a record; negative, as signals have positive numbers."""

    NOT_READ = -1  # no signal was seen, and what was pending was not read
    NOTHING_PENDING = -2  # nothing was pending that the probes can read
    SIGNAL = -3  # a signal was pending of which nothing else is known
    FREEZER = -4  # of cgroup v2
    PTRACE = -5
    GROUP_STOP = -6
    TASK_WORK = -7
    LIVEPATCH = -8


# Flags of a trap, those that say the most first.
_FLAGS = (
    ("SIGNAL_PENDING", Ending.SIGNAL),
    ("FREEZER", Ending.FREEZER),
    ("PTRACE", Ending.PTRACE),
    ("GROUP_STOP", Ending.GROUP_STOP),
    ("TASK_WORK", Ending.TASK_WORK),
    ("LIVEPATCH", Ending.LIVEPATCH),
    ("PENDING_READ", Ending.NOTHING_PENDING),
)


def endings(early: Any, signal: Any, flag: Callable[[str], Any]) -> npt.NDArray[np.int64]:
    """For each trap the number of the signal that ended it early, or an Ending; 0: it did not end early.

    early: is it an early return; signal: of its record; flag: a flag of each trap by name. Also of one trap.
    """
    by_signal = np.asarray(signal) > 0
    found = np.where(early, np.where(by_signal, signal, int(Ending.NOT_READ)), 0).astype(np.int64)
    others = early & ~by_signal
    if others.any():
        for name, value in reversed(_FLAGS):
            found = np.where(others & flag(name), int(value), found)
    return found
