"""Notices when somebody sets the clock of the host, so that the records keep their wall times."""

from collections.abc import Callable
from typing import Any

from sldtrace.host import facts

_STEP_NS = 10_000_000  # adjtimex(2) slews by half a millisecond a second at most


class Moments:
    """Pairs of CLOCK_MONOTONIC and CLOCK_REALTIME; to be looked at once a second."""

    def __init__(self, clock: Callable[[], dict[str, int]] = facts.clock) -> None:
        self._clock = clock
        self._last = clock()
        self._steps: dict[str, int] = {}

    def look(self) -> dict[str, Any] | None:
        """The facts `clock_steps`, if the clock has been set since the last call.

        For each step the moments before and after it that are known: {monotonic ns as text: realtime ns}.
        """
        before, now = self._last, self._clock()
        self._last = now
        if abs(_offset(now) - _offset(before)) < _STEP_NS:
            return None
        for pair in (before, now):
            self._steps[str(pair["monotonic_ns"])] = pair["realtime_ns"]
        return {"clock_steps": dict(self._steps)}


def _offset(pair: dict[str, int]) -> int:
    return pair["realtime_ns"] - pair["monotonic_ns"]
