"""MSR_TEST_CTRL against what the boot mode asks for."""

import pytest

from sldtrace.checks import cores
from sldtrace.checks.result import State
from sldtrace.host.msr import Core
from sldtrace.host.split_lock import SplitLock

ON, OFF, UNREAD = Core((0, 2), True), Core((1, 3), False), Core((4,), None, error="Operation not permitted")


def lock(mode: str, detects: bool = True) -> SplitLock:
    return SplitLock(mode, detects, False, 1)


@pytest.mark.parametrize(
    ("mode", "found", "state", "said"),
    [
        ("warn", [ON, ON], State.OK, "2 cores (2 with hyperthreads"),
        ("warn", [ON, OFF], State.NOTE, "on CPU 1+3 detection was off"),
        ("fatal", [ON, OFF], State.NOTE, "CPU 1+3"),
        ("off", [OFF, OFF], State.OK, "split-lock detection is off on all of them"),
        ("off", [ON, OFF], State.PROBLEM, "on CPU 0+2 detection was on"),
        ("ratelimit:5", [OFF], State.OK, "1 core (1 with"),
        ("warn", [Core((0,), True, sometimes_off=True)], State.OK, "on 1 it was off in some of the reads"),
        ("warn", [ON, UNREAD], State.UNKNOWN, "Operation not permitted"),
    ],
)
def test_state(mode: str, found: list[Core], state: State, said: str) -> None:
    check = cores.evaluate(lock(mode), found)
    assert check.state is state
    assert said in check.text
    assert bool(check.fixes) == (state is not State.OK)


def test_how_to_see_it() -> None:
    missing = cores.evaluate(lock("warn"), [Core((0,), None, error="No such file or directory")])
    assert [fix.do for fix in missing.fixes] == ["modprobe msr", "run sldtrace check as root"]
    refused = cores.evaluate(lock("warn"), [UNREAD])
    assert [fix.do for fix in refused.fixes] == ["run sldtrace check as root"]


def test_without_detection_nothing_is_read() -> None:
    check = cores.evaluate(lock("unsupported", detects=False), [UNREAD])
    assert check.state is State.OK
