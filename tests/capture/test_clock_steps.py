"""The clock of the host is set while it is recorded."""

import pytest

from sldtrace.capture.clock_steps import ClockSteps

SECOND = 1_000_000_000


def pair(monotonic: float, realtime: float) -> dict[str, int]:
    return {"monotonic_ns": round(monotonic * SECOND), "realtime_ns": round(realtime * SECOND)}


def test_a_step_is_noted_with_the_moments_around_it() -> None:
    clocks = iter([pair(1, 101), pair(2, 102.0005), pair(3, 3703), pair(4, 3704), pair(5, 105)])
    clock_steps = ClockSteps(lambda: next(clocks))
    assert clock_steps.check() is None  # that is how a clock is slewed
    first = {str(2 * SECOND): 102_000_500_000, str(3 * SECOND): 3703 * SECOND}
    assert clock_steps.check() == {"clock_steps": first}
    assert clock_steps.check() is None
    back = {str(4 * SECOND): 3704 * SECOND, str(5 * SECOND): 105 * SECOND}
    assert clock_steps.check() == {"clock_steps": back}


@pytest.mark.parametrize(("step_ns", "noted"), [(9_999_999, False), (10_000_000, True), (-10_000_000, True)])
def test_a_step_is_ten_milliseconds_or_more(step_ns: int, noted: bool) -> None:
    after = pair(2, 102)
    clocks = iter([pair(1, 101), after | {"realtime_ns": after["realtime_ns"] + step_ns}])
    assert (ClockSteps(lambda: next(clocks)).check() is not None) == noted
