"""Ends a machine that makes no progress. The limits follow the machine, not the speed of this host."""

import argparse
from dataclasses import dataclass
from typing import TypedDict

from lab.failures import LabError

MACHINE_TIME = 900.0
STALLED = 120.0
# A longer step between two checks is time in which this process did not run either: it counts as this much.
_STEP = 1.0


@dataclass(frozen=True)
class Limits:
    """machine_time: seconds of the machine's own time, from power-on to power-off.

    stalled: seconds of this host without an instruction, idle time or output of the machine.
    timeout: seconds of this host for all of it; None: no such limit.
    """

    machine_time: float = MACHINE_TIME
    stalled: float = STALLED
    timeout: float | None = None

    def __post_init__(self) -> None:
        given = (self.machine_time, self.stalled, self.timeout)
        if any(not limit > 0 for limit in given if limit is not None):
            raise LabError("a limit must be more than 0 seconds")


class Watchdog:
    """Says when a machine has reached one of its limits."""

    def __init__(self, limits: Limits, now: float) -> None:
        """`now`: seconds of any clock of this host that does not go back."""
        self._limits = limits
        self._start = self._last = now
        self._progress = (0.0, 0)
        self._stalled = 0.0

    def reached(self, now: float, machine_time: float, output: int) -> str | None:
        """One sentence about the limit that is reached, with the option that raises it; None: none is.

        machine_time: seconds since power-on on the machine's clock; output: bytes that it has written
        so far, command and console together.
        """
        step, self._last = min(now - self._last, _STEP), now
        progress = (machine_time, output)
        self._stalled = self._stalled + step if progress == self._progress else 0.0
        self._progress = progress
        limits = self._limits
        if machine_time > limits.machine_time:
            return (
                f"the machine did not finish within {limits.machine_time:g} s of its own time;"
                " --machine-time raises the limit"
            )
        if self._stalled > limits.stalled:
            return f"the emulator executed nothing for {limits.stalled:g} s; --stalled raises the limit"
        if limits.timeout is not None and now - self._start > limits.timeout:
            return f"the machine did not finish within {limits.timeout:g} s; --timeout raises the limit"
        return None


class Chosen(TypedDict):
    """The limits as arguments of a Job."""

    machine_time: float
    stalled: float
    timeout: float | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that set the limits; `chosen` reads them."""
    parser.add_argument(
        "--machine-time",
        type=float,
        default=MACHINE_TIME,
        metavar="S",
        help=f"end the machine after S seconds of its own time (default {MACHINE_TIME:g});"
        " they do not depend on the speed of this host",
    )
    parser.add_argument(
        "--stalled",
        type=float,
        default=STALLED,
        metavar="S",
        help=f"end it when it executes nothing and writes nothing for S seconds (default {STALLED:g})",
    )
    parser.add_argument(
        "--timeout", type=float, metavar="S", help="end it after S seconds of this host (default: no limit)"
    )


def chosen(arguments: argparse.Namespace) -> Chosen:
    """What the options say."""
    return Chosen(machine_time=arguments.machine_time, stalled=arguments.stalled, timeout=arguments.timeout)
