"""The table of top as lines of text: which columns fit, which rows, and what is above them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sldtrace.text.phrases import address, length, plural, rate
from sldtrace.top.rows import Row

HEADING, SELECTED, CRITICAL, WARNING, PLAIN = "heading", "selected", "critical", "warning", "plain"
"""Styles of a line."""

_TONES = {"livelock": CRITICAL, "delayed": WARNING, "fatal": CRITICAL}


@dataclass(frozen=True)
class Line:
    """A line of text and its style."""

    text: str
    style: str = PLAIN


@dataclass(frozen=True)
class Column:
    """text: of a row; priority: those with a smaller one stay when not all fit; left: how it is aligned."""

    heading: str
    width: int
    priority: int
    text: Callable[[Row], str]
    left: bool = False


def _share(row: Row) -> str:
    return f"{100 * row.penalty_share:.0f} %" if row.traps_per_s else "-"


def _who(row: Row) -> str:
    if row.tid is None:
        return f"{row.threads} thr"
    return f"vCPU {row.vcpu}" if row.vcpu is not None else f"TID {row.tid}"


def _verdict(row: Row) -> str:
    if row.tid is None and row.livelocked:
        return f"livelock ({row.livelocked} of {row.threads})"
    return row.verdict


COLUMNS = (
    Column("VM", 18, 0, lambda row: row.name, left=True),
    Column("PID", 7, 7, lambda row: str(row.tgid)),
    Column("thread", 8, 1, _who, left=True),
    Column("traps/s", 7, 2, lambda row: rate(row.traps_per_s)),
    Column("early/s", 7, 5, lambda row: rate(row.early_returns_per_s)),
    Column("penalty", 7, 3, _share),
    Column("off/s", 6, 4, lambda row: rate(row.detection_off_per_s)),
    Column("bus/s", 7, 9, lambda row: rate(row.bus_locks_per_s)),
    Column("every", 7, 7, lambda row: length(int(row.period_ns)) if row.period_ns else "-"),
    Column("signal", 11, 6, lambda row: row.signal or "-", left=True),
    Column("address", 18, 8, lambda row: address(row.rip), left=True),
    Column("verdict", 19, 0, _verdict, left=True),
)
"""off/s: how often detection was switched off, so that the guest got past the instruction; bus/s: bus locks
of a program (#DB), or VM exits of a guest for them."""


@dataclass
class View:
    """What is shown.

    sort: one of rows.SORT_KEYS; opened: TGIDs of VMs whose threads are shown; selected: the row under the
    cursor, None without one; first: the first row on the screen; help: shown instead of the rows.
    """

    sort: str = "verdict"
    opened: set[int] = field(default_factory=set)
    selected: int | None = None
    first: int = 0
    paused: bool = False
    help: bool = False


def fitting(width: int) -> list[Column]:
    """The columns that fit into that many characters, in their order; two at least."""
    chosen: list[Column] = []
    used = -1
    for column in sorted(COLUMNS, key=lambda one: one.priority):
        if used + column.width + 1 > width and len(chosen) >= 2:
            break
        chosen.append(column)
        used += column.width + 1
    return [column for column in COLUMNS if column in chosen]


def heading(columns: Sequence[Column]) -> str:
    """The line with the names of the columns."""
    return _line([column.heading for column in columns], columns)


def line(row: Row, columns: Sequence[Column]) -> str:
    """A row."""
    return _line([column.text(row) for column in columns], columns)


def tone(row: Row) -> str:
    """The style of a row."""
    return _TONES.get(row.verdict, PLAIN)


def worst(rows: Sequence[Row], since: Callable[[int], str], most: int = 1) -> list[str]:
    """A line for each VM with a livelock, and one for those that there is no room for."""
    frozen = [row for row in rows if row.livelocked]
    lines = [
        f"LIVELOCK: {row.name} (PID {row.tgid}): {row.livelocked} of {plural(row.threads, 'thread')} at"
        f" {address(row.rip)} since {since(row.loop_since_ns)}"
        for row in frozen[:most]
    ]
    return [*lines, f"... and {plural(len(frozen) - most, 'more VM')}"] if len(frozen) > most else lines


def cut(text: str, width: int) -> str:
    """The text in that width; of a longer one the middle is left out."""
    if len(text) <= width:
        return text
    if width < 5:
        return text[:width]
    head = (width - 2) // 2
    return f"{text[:head]}..{text[head + 2 - width :]}"


def _line(cells: Sequence[str], columns: Sequence[Column]) -> str:
    shown = [
        cut(cell, column.width).ljust(column.width)
        if column.left
        else cut(cell, column.width).rjust(column.width)
        for cell, column in zip(cells, columns, strict=True)
    ]
    return " ".join(shown).rstrip()
