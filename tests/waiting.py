"""Waiting for what must come, however slow the machine is."""

import time
from collections.abc import Callable

HANG_S = 600.0
"""A guard against hangs, in seconds: nothing that tests wait for takes nearly as long on any machine."""


def until(condition: Callable[[], object], what: str) -> None:
    """Waits until the condition holds; fails with `what` is missing if it hangs."""
    end = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < end, f"a hang: {HANG_S:g} s without {what}"
        time.sleep(0.005)
