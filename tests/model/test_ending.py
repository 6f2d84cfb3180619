"""What ended a sleep, from a trap's fields: for arrays, and for one trap."""

import numpy as np
import pytest

from sldtrace.model.ending import Ending, endings


@pytest.mark.parametrize(
    ("early", "signal", "flags", "found"),
    [
        (False, 0, {"PENDING_READ", "FREEZER"}, 0),
        (True, 10, {"PENDING_READ", "SIGNAL_PENDING", "FREEZER"}, 10),
        (True, 0, set(), Ending.NOT_READ),
        (True, 0, {"PENDING_READ"}, Ending.NOTHING_PENDING),
        (True, 0, {"PENDING_READ", "SIGNAL_PENDING", "PTRACE"}, Ending.SIGNAL),
        (True, 0, {"PENDING_READ", "LIVEPATCH", "TASK_WORK"}, Ending.TASK_WORK),
        (True, 0, {"PENDING_READ", "PTRACE", "FREEZER"}, Ending.FREEZER),
    ],
)
def test_what_says_the_most_comes_first(early: bool, signal: int, flags: set[str], found: int) -> None:
    assert int(endings(early, signal, lambda name: name in flags)) == found
    many = endings(
        np.array([early] * 3), np.array([signal] * 3, np.int32), lambda name: np.full(3, name in flags)
    )
    assert many.tolist() == [found] * 3
