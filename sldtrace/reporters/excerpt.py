"""The evidence of a finding as a table: the first and the last records of its kind."""

from collections.abc import Callable, Sequence
from datetime import timezone
from typing import Any

from sldtrace.analyzers import endings
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.host import signals
from sldtrace.host.msr import DETECT
from sldtrace.model import ending
from sldtrace.reporters import wording
from sldtrace.reporters.document import Cell, Column, Table, Unit

FIRST, LAST = 4, 3

_Row = dict[Any, Any]
_Columns = dict[Column, Callable[[_Row], Cell]]


def table(trace: Trace, evidence: Rows, kind: str) -> Table:
    """The first and the last records of that kind; those between are left out and counted."""
    values = evidence.head_tail(FIRST, LAST).plain()
    shown = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    columns = _COLUMNS[kind]
    time_of = "start_ns" if kind == "trap" else "ns"
    time, times = _times(trace, [int(row[time_of]) for row in shown])
    rows = tuple(
        (when, *(cell(row) for cell in columns.values())) for when, row in zip(times, shown, strict=True)
    )
    return Table((time, *columns), rows, len(evidence) - len(shown), FIRST)


def _times(trace: Trace, times: list[int]) -> tuple[Column, Sequence[Cell]]:
    if trace.zone is not timezone.utc:
        return Column("local time"), [wording.time_of_day(trace, ns) for ns in times]
    wall = [known for ns in times if (known := trace.wall_ns(ns)) is not None]
    if len(wall) == len(times):
        return Column("time (UTC)", Unit.UTC), wall
    return Column("host's clock (s)", Unit.CLOCK), times


def _if_watched(name: str, flag: str) -> Callable[[_Row], Cell]:
    return lambda row: int(row[name]) if row[flag] else None


def _detection(row: _Row) -> Cell:
    return "off" if row["msr_cleared"] else "stays on" if row["msr_watched"] else None


def _ended_by(row: _Row) -> Cell:
    found = int(ending.endings(row["early_return"], row["signal"], lambda flag: row[flag.lower()]))
    return endings.name(found) if found else None


def _number(name: str) -> Callable[[_Row], Cell]:
    return lambda row: int(row[name])


def _word(name: str) -> Callable[[_Row], Cell]:
    return lambda row: str(row[name])


_COLUMNS: dict[str, _Columns] = {
    "trap": {
        Column("CPU", Unit.NUMBER): _number("start_cpu"),
        Column("slept", Unit.DURATION): _number("sleep_ns"),
        Column("left", Unit.MS): _number("sleep_left_ms"),
        Column("ended by"): _ended_by,
        Column("VM exits", Unit.COUNT): _if_watched("exits", "exits_watched"),
        Column("in guest", Unit.DURATION): _if_watched("guest_ns", "exits_watched"),
        Column("detection"): _detection,
    },
    "exit": {
        Column("CPU", Unit.NUMBER): _number("exit_cpu"),
        Column("reason"): _word("name"),
        Column("address", Unit.ADDRESS): _number("rip"),
        Column("in guest", Unit.DURATION): _number("guest_ns"),
        Column("on host", Unit.DURATION): _number("host_ns"),
    },
    "stall": {
        Column("TID", Unit.NUMBER): _number("tid"),
        Column("waited", Unit.DURATION): _number("waited_ns"),
        Column("for"): _word("what"),
        Column("penalized", Unit.NUMBER): _number("penalized_tid"),
    },
    "detection": {
        Column("CPU", Unit.NUMBER): _number("cpu"),
        Column("TID", Unit.NUMBER): _number("tid"),
        Column("detection"): lambda row: "on" if int(row["value"]) & DETECT else "off",
    },
    "signal": {
        Column("TID", Unit.NUMBER): _number("tid"),
        Column("signal"): lambda row: signals.name(int(row["signal"])),
        Column("code"): lambda row: signals.code_name(int(row["signal_code"])),
        Column("sender", Unit.NUMBER): _number("sender_tid"),
    },
    "migrate": {
        Column("TID", Unit.NUMBER): _number("tid"),
        Column("from CPU", Unit.NUMBER): _number("from_cpu"),
        Column("to CPU", Unit.NUMBER): _number("to_cpu"),
        Column("running then", Unit.NUMBER): _number("by_tid"),
    },
    "bus_lock": {
        Column("bus locks", Unit.COUNT): _number("count"),
        Column("in handler", Unit.DURATION): _number("handler_ns"),
        Column("address", Unit.ADDRESS): _number("rip"),
    },
    "user_exit": {
        Column("CPU", Unit.NUMBER): _number("cpu"),
        Column("TID", Unit.NUMBER): _number("tid"),
        Column("returned"): _word("name"),
    },
}

KINDS = tuple(_COLUMNS)
"""The kinds of record that evidence may be of."""
