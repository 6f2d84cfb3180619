"""What a report says, apart from how it looks: sections of facts, tables and text, for every format."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sldtrace.strenum import StrEnum


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
    """Something to change: what, its cost, and the command or setting where there is one.

    details: what else is to be known, such as how to undo it.
    """

    what: str
    cost: str
    command: str | None = None
    details: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class Steps:
    """Numbered steps, each of which is enough by itself."""

    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Reference:
    """Words about another section, and its title; empty: there is none."""

    text: str
    title: str = ""


def marked(verdict: str, tone: Tone) -> str:
    """The verdict of a finding as it is shown: `LIVELOCK`, `LOCK HELD (notice, no alarm)`."""
    return f"{verdict.upper()}{' (notice, no alarm)' if tone is Tone.NOTICE else ''}"


@dataclass(frozen=True)
class Verdict:
    """One cause and the threads of one VM that have it.

    sentence: who is affected, and how; affected: VMs and processes that the sentence does not name; when: in
    words; cause: empty where it is that of a verdict before; step: what to change first; related:
    verdicts that have to do with it.
    """

    tone: Tone
    verdict: str
    sentence: str
    affected: str
    when: str
    cause: str
    step: Step | None
    related: Sequence[Reference] = ()

    @property
    def mark(self) -> str:
        """The verdict as it is shown."""
        return marked(self.verdict, self.tone)

    @property
    def title(self) -> str:
        """The verdict in one line; also the title of the section that has all about it."""
        return f"{self.mark}: {self.sentence}"


@dataclass(frozen=True)
class Overview:
    """What to read first: where and when, and a verdict for each VM and cause, the most severe first.

    nothing: a title, and what is said below it, where there is no verdict; more: how many are left out.
    """

    title: str
    facts: tuple[Fact, ...]
    verdicts: tuple[Verdict, ...]
    nothing: Fact | None = None
    more: str = ""


@dataclass(frozen=True)
class Lanes:
    """When something held, as a line of characters for each thread; their meaning is in `legend`.

    lanes: name and characters, equally many for each; start, end: of the time, in words.
    """

    lanes: tuple[tuple[str, str], ...]
    start: str
    end: str
    legend: str


@dataclass(frozen=True)
class Span:
    """A span of time: ns since 1970 if utc, else of CLOCK_MONOTONIC."""

    start_ns: int
    end_ns: int
    utc: bool


@dataclass(frozen=True)
class Band:
    """What took which share of each column, from 0 to 1. kind: one of a few; it chooses the style."""

    kind: str
    name: str
    shares: Sequence[float]


@dataclass(frozen=True)
class Marks:
    """How many of something there were in each column."""

    kind: str
    name: str
    counts: Sequence[int]


@dataclass(frozen=True)
class Timeline:
    """A picture of what took the time, from left to right. Bands are on top of each other.

    text: the same in words; steps: a number for each column, None where there is none (the CPU).
    """

    label: str
    text: str
    span: Span
    bands: Sequence[Band]
    marks: Sequence[Marks] = ()
    steps: Sequence[int | None] = ()
    steps_name: str = ""


@dataclass(frozen=True)
class Piece:
    """A time in which one thing happened; kind as in Band."""

    kind: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Closeup:
    """A picture of single events: pieces of time, and moments, each with a name."""

    label: str
    text: str
    span: Span
    pieces: Sequence[Piece]
    moments: Sequence[tuple[int, str]]


@dataclass(frozen=True)
class Rates:
    """A picture of how often something happened over time: events a second in each column."""

    label: str
    text: str
    span: Span
    series: Sequence[tuple[str, str, Sequence[float]]]
    """Each: kind as in Band, name, values."""


@dataclass(frozen=True)
class Histogram:
    """A picture of how many durations there were of which length: bars of `part_ns` each, from 0.

    series: as in Rates; marks: lengths with a name.
    """

    label: str
    text: str
    part_ns: int
    series: Sequence[tuple[str, str, Sequence[int]]]
    marks: Sequence[tuple[int, str]]


Picture = Timeline | Closeup | Rates | Histogram

Block = Text | Command | Facts | Table | Steps | Overview | Lanes | Picture
"""Pictures are in reports for reporters that have them (formats.Reporter.pictures)."""


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
