"""Types of the options of `sldtrace guest`: a period or none, a signal, a list of CPUs."""

import re
import signal
from typing import Any

import click
from click.types import IntParamType

from sldtrace.durations import Duration
from sldtrace.host import signals as names
from sldtrace.vmm import signals

_CPUS = re.compile(r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*", re.ASCII)
_REAL_TIME = re.compile(r"(?:SIG)?RTMIN(?:\+([0-9]{1,2}))?", re.ASCII)


class Period(Duration):
    """Nanoseconds as in Duration, or the word none, which is 0."""

    name = "duration|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return 0 if value == "none" else super().convert(value, param, ctx)


class Signal(IntParamType):
    """The number of a signal that may be a kick, by number or name (10, SIGUSR1, USR1, SIGRTMIN+2)."""

    name = "signal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = value if isinstance(value, int) else self._number(value.upper())
        if number is None:
            self.fail(f"'{value}' is not a signal", param, ctx)
        if number not in signals.KICKS:
            self.fail(
                f"{names.name(number)} cannot be a kick: it ends the run, is a fault, or is not ours",
                param,
                ctx,
            )
        return number

    @staticmethod
    def _number(text: str) -> int | None:
        if text.isascii() and text.isdigit():
            return int(text[:4])
        if match := _REAL_TIME.fullmatch(text):
            return signal.SIGRTMIN + int(match[1] or 0)
        try:
            return signal.Signals[text if text.startswith("SIG") else f"SIG{text}"]
        except KeyError:
            return None


def parse_cpus(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """A click callback: CPU numbers from a list such as 0,2-3; a CPU may come more than once."""
    if value is None:
        return ()
    if not _CPUS.fullmatch(value):
        raise click.BadParameter(f"'{value}' is not a list of CPUs such as 0,2-3", ctx, param)
    cpus: list[int] = []
    for part in value.split(","):
        first, _, last = part.partition("-")
        if int(last or first) < int(first):
            raise click.BadParameter(f"'{part}' runs backwards", ctx, param)
        cpus += range(int(first), int(last or first) + 1)
    return tuple(cpus)
