"""Limits: they follow the machine's progress; a slow host reaches none of them."""

import argparse

import pytest

from lab import limits
from lab.failures import LabError
from lab.limits import Limits, Watchdog


def test_a_slow_host_reaches_no_limit() -> None:
    """A day for ten seconds of the machine's time, with one second of it each hour."""
    watchdog = Watchdog(Limits(machine_time=10), 0)
    for second in range(86400):
        assert watchdog.reached(second, second // 100 / 100, 0) is None


def test_the_machines_own_time_is_limited() -> None:
    watchdog = Watchdog(Limits(machine_time=10), 0)
    assert watchdog.reached(1, 10, 0) is None
    assert watchdog.reached(2, 10.1, 0) == (
        "the machine did not finish within 10 s of its own time; --machine-time raises the limit"
    )


@pytest.mark.parametrize(("seconds", "output"), [(1, 0), (0, 1)])
def test_time_of_the_machine_and_output_are_progress(seconds: int, output: int) -> None:
    watchdog = Watchdog(Limits(stalled=10), 0)
    for now in range(1, 10):
        assert watchdog.reached(now, 0, 0) is None
    for now in range(10, 21):
        assert watchdog.reached(now, seconds, output) is None
    reached = watchdog.reached(21, seconds, output)
    assert reached == "the emulator executed nothing for 10 s; --stalled raises the limit"


def test_time_in_which_the_lab_itself_did_not_run_is_not_the_emulators() -> None:
    """A host that was suspended, or too busy: the emulator did not run either."""
    watchdog = Watchdog(Limits(stalled=10), 0)
    assert watchdog.reached(1000, 0, 0) is None
    assert watchdog.reached(2000, 0, 0) is None


def test_there_is_no_limit_of_this_hosts_time_unless_it_is_asked_for() -> None:
    assert Limits().timeout is None
    watchdog = Watchdog(Limits(timeout=5), 100)
    assert watchdog.reached(105, 1, 0) is None
    assert watchdog.reached(106, 2, 0) == "the machine did not finish within 5 s; --timeout raises the limit"


@pytest.mark.parametrize("name", ["machine_time", "stalled", "timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_is_more_than_nothing(name: str, value: float) -> None:
    with pytest.raises(LabError, match="more than 0"):
        Limits(**{name: value})


def test_each_limit_has_an_option_and_the_message_names_it() -> None:
    parser = argparse.ArgumentParser()
    limits.add_options(parser)
    chosen = limits.chosen(parser.parse_args([]))
    assert Limits(**chosen) == Limits()
    line = ["--machine-time", "1", "--stalled", "2", "--timeout", "3"]
    assert limits.chosen(parser.parse_args(line)) == {"machine_time": 1, "stalled": 2, "timeout": 3}
