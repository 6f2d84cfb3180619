"""What a report says, apart from how it looks: sections of facts, tables and text, for every format."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any


class Tone(StrEnum):
    """How good or bad the thing is that a title or a mark stands for."""

    GOOD = "good"
    UNKNOWN = "unknown"
    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


class Unit(Enum):
    """What the values of a column are."""

    TEXT = "text"
    NUMBER = "number"
    """An identifier, such as a TID or a CPU."""
    COUNT = "count"
    DURATION = "duration in ns"
    MS = "duration in ms"
    BELOW = "upper bound in ns"
    """Of a duration; `AtLeast` where only the lower bound is known."""
    UTC = "ns since 1970"
    CLOCK = "ns of CLOCK_MONOTONIC"
    ADDRESS = "address"
    SHARE = "share"
    RATE = "events a second"


@dataclass(frozen=True)
class AtLeast:
    """A duration of which only the lower bound is known."""

    ns: int


Cell = int | float | str | AtLeast | None


@dataclass(frozen=True)
class Column:
    """A column of a table; "\\n" in the header begins a new line."""

    header: str
    unit: Unit = Unit.TEXT


@dataclass(frozen=True)
class Table:
    """Rows of raw values, None where there is none.

    omitted, omitted_at: how many rows are left out, and in front of which of `rows`; stacked: where the
    table is too wide for the terminal, each row becomes a paragraph (otherwise the first column is cut).
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    omitted: int = 0
    omitted_at: int = 0
    stacked: bool = False


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Command:
    """A command to copy, with a word before it and a note below it."""

    text: str
    lead: str = ""
    note: str = ""


@dataclass(frozen=True)
class Fact:
    """A label and what is to be said under it; mark: a word in front of the label, such as `ok`."""

    label: str
    text: str
    mark: str = ""
    tone: Tone | None = None
    commands: tuple[Command, ...] = ()


@dataclass(frozen=True)
class Facts:
    """Facts below each other. label_width: characters of a label."""

    facts: tuple[Fact, ...]
    label_width: int = 10


@dataclass(frozen=True)
class Step:
    """Something to change: what, its cost, and the command or setting where there is one."""

    what: str
    cost: str
    command: str | None = None


@dataclass(frozen=True)
class Steps:
    """Numbered steps, each of which is enough by itself."""

    steps: tuple[Step, ...]


Block = Text | Command | Facts | Table | Steps


@dataclass(frozen=True)
class Section:
    """A title, what stands below it, and parts of their own. The title may be empty."""

    title: str = ""
    blocks: Sequence[Block] = ()
    parts: Sequence["Section"] = ()
    tone: Tone | None = None


@dataclass(frozen=True)
class Report:
    """What a command has to say.

    data: a dataclass with everything, for programs (JSON); sections: the same for people, with the most
    important first.
    """

    data: Any
    sections: Sequence[Section]
