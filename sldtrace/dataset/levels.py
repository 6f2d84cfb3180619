"""How much was recorded when: `detail` records as stretches of time, and why it was less than asked for."""

from dataclasses import dataclass
from itertools import pairwise

from sldtrace.dataset.trace import Trace

TRAPS, COUNTS, EXITS = "traps", "counts", "exits"
"""The levels, as enum sld_level of bpf/events.h names them in lower case; each includes those before it."""

START = "start"
"""What a stretch is due to that nothing has changed yet (enum sld_reason)."""

_ORDER = {TRAPS: 0, COUNTS: 1, EXITS: 2}
_LIMITS, _UPWARDS = {"events", "cpu"}, {"trap", "recovered"}
_TOP = {"none": TRAPS, "counts": COUNTS}  # by the option --exits; of the others EXITS


@dataclass(frozen=True)
class Stretch:
    """A time with one level: start_ns to end_ns (CLOCK_MONOTONIC).

    why, measured, limit: as in the record `detail`; but of a level that has come up again, and not as far as
    asked for, what had brought it down (events, cpu).
    """

    level: str
    start_ns: int
    end_ns: int
    why: str
    measured: int
    limit: int


def stretches(trace: Trace) -> list[Stretch]:
    """The whole recording, in order; empty where nothing says what the level was."""
    start, end = trace.span_ns
    columns = trace.rows("detail").plain()
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    moments = [min(max(int(row["ns"]), start), end) for row in rows]
    most = rank(asked(trace))
    found = []
    limited = None  # what brought it down to where it is or below, since it was last as high as asked for
    for row, (since, until) in zip(rows, pairwise([*moments, end]), strict=True):
        why = str(row["reason"]), int(row["measured"]), int(row["limit"])
        below = rank(row["level"]) < most
        if not below:
            limited = None
        elif why[0] in _LIMITS:
            limited = why
        elif limited and why[0] in _UPWARDS:
            why = limited
        if until > since:
            found.append(Stretch(str(row["level"]), since, until, *why))
    return found


def asked(trace: Trace) -> str:
    """The highest level that this recording was to have (record --exits)."""
    return _TOP.get(trace.text("exits"), EXITS)


def reduced(trace: Trace) -> list[Stretch]:
    """The stretches in which less was recorded than asked for."""
    most = rank(asked(trace))
    return [stretch for stretch in stretches(trace) if rank(stretch.level) < most]


def watched(trace: Trace) -> list[tuple[int, int]]:
    """When VM exits, detection, migrations and waits were watched: start and end of each stretch."""
    joined: list[tuple[int, int]] = []
    for stretch in stretches(trace):
        if rank(stretch.level) < _ORDER[COUNTS]:
            continue
        if joined and joined[-1][1] == stretch.start_ns:
            joined[-1] = joined[-1][0], stretch.end_ns
        else:
            joined.append((stretch.start_ns, stretch.end_ns))
    return joined


def rank(level: str) -> int:
    """The position of a level; one that this version does not know is above all."""
    return _ORDER.get(level, len(_ORDER))
