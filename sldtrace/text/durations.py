"""Lengths of time on the command line: parsed to whole nanoseconds, and written out again."""

import re
from decimal import Decimal
from typing import Any

import click
from click.types import IntParamType

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_SHAPE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(ns|us|ms|s|m|h)?", re.ASCII)


def parse(text: str) -> int:
    """Nanoseconds in a text such as `1ms`, `500us`, `2s`, `1.5m`, `10h` or `0.25`; without a unit: seconds.

    Fractions of a nanosecond are cut off. Raises ValueError, with one line, for anything else.
    """
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a length of time such as 500us, 1ms, 2s or 10m")
    number, unit = match.groups()
    return int(Decimal(number) * _UNITS[unit or "s"])


def render(ns: int) -> str:
    """The shortest exact text of `ns` >= 0 in one unit up to seconds: 1ms, 1500us, 2s, 90s."""
    for unit in ("s", "ms", "us"):
        if ns and ns % _UNITS[unit] == 0:
            return f"{ns // _UNITS[unit]}{unit}"
    return f"{ns}ns"


class Duration(IntParamType):
    """A click type whose value is nanoseconds (int), within `least` and `most` (both included).

    Anything else is a usage error of click (exit status 2). A default is a text, too.
    """

    name = "duration"

    def __init__(self, least: str = "1ns", most: str = "24h") -> None:
        self._least, self._most = parse(least), parse(most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            ns = parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not self._least <= ns <= self._most:
            self.fail(f"'{value}' is not between {render(self._least)} and {render(self._most)}", param, ctx)
        return ns


class Period(Duration):
    """A Duration, or the word none, which is 0."""

    name = "duration|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return 0 if value == "none" else super().convert(value, param, ctx)
