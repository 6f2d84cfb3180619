"""The options that several commands of `sldtrace guest` have, and types of options."""

import re
import signal
from collections.abc import Callable
from typing import Any

import click
from click.types import IntParamType

from sldtrace.host import signals as names
from sldtrace.text.durations import Duration
from sldtrace.vmm import signals
from sldtrace.vmm.kicks import Kind

_CPUS = re.compile(r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*", re.ASCII)
_MOST_CPUS = 4096  # in a list; there are fewer threads
_REAL_TIME = re.compile(r"(?:SIG)?RTMIN(?:\+([0-9]{1,2}))?", re.ASCII)

# The type of click.option() and click.argument().
_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

name: _Decorator = click.argument("name", metavar="[GUEST]", default="split-bts")

kick: _Decorator = click.option(
    "--kick",
    type=click.Choice([kind.value for kind in Kind]),
    default=Kind.TIMER.value,
    callback=lambda ctx, param, value: Kind(value),
    show_default=True,
    help="timer: timer_create, to the vCPU's thread, armed for each KVM_RUN. itimer: setitimer, SIGALRM to"
    " the process. tgkill: from another thread. immediate-exit: the same without a signal mask.",
)


def duration(default: str, most: str, text: str) -> _Decorator:
    """--duration, from 1ms to `most`; `text` is its help."""
    return click.option(
        "--duration", type=Duration("1ms", most), default=default, show_default=True, help=text
    )


class Signal(IntParamType):
    """The number of a signal that may be a kick, by number or name (10, SIGUSR1, USR1, SIGRTMIN+2)."""

    name = "signal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = value if isinstance(value, int) else self._number(value.upper())
        if number is None:
            self.fail(f"'{value}' is not a signal", param, ctx)
        if number not in signals.KICKS:
            self.fail(
                f"{names.name(number)} cannot be a kick: it ends the run, is a fault, or is reserved",
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
        if len(cpus) > _MOST_CPUS:
            raise click.BadParameter(f"more than {_MOST_CPUS:,} CPUs", ctx, param)
    return tuple(cpus)
