"""Detects that the clock of the host was set, so that wall times of records stay right."""

from collections.abc import Callable
from typing import Any

from sldtrace.host import facts

_STEP_NS = 10_000_000  # adjtimex(2) slews by half a millisecond a second at most


class ClockSteps:
    """Compares CLOCK_MONOTONIC with CLOCK_REALTIME; call `check` once a second."""

    def __init__(self, clock: Callable[[], dict[str, int]] = facts.clock) -> None:
        self._clock = clock
        self._last = clock()

    def check(self) -> dict[str, Any] | None:
        """The fact `clock_steps` if the clock was set since the last call, else None.

        It has the last time before the step and the first after it, {monotonic ns as text: realtime ns};
        readers add it to those before.
        """
        before, now = self._last, self._clock()
        self._last = now
        if abs(_offset(now) - _offset(before)) < _STEP_NS:
            return None
        return {"clock_steps": {str(pair["monotonic_ns"]): pair["realtime_ns"] for pair in (before, now)}}


def _offset(pair: dict[str, int]) -> int:
    return pair["realtime_ns"] - pair["monotonic_ns"]
