"""Puts records that come nearly in order of time into slices that follow each other in time."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sldtrace.engine.columns import Columns, none
from sldtrace.recording import schema
from sldtrace.recording.layout import Records, concatenate
from sldtrace.recording.timeline import Timeline

SLICE = 1 << 16
"""Records of a slice, about: enough to make numpy's calls cheap; a slice of traps takes 7 MiB."""

MOST_WAITING = 1 << 19
"""Records that wait for others to come first; with more of them the order is given up: see Slicer.take."""

Slice = Mapping[str, Columns]


class Slicer:
    """Keeps records until all earlier ones have come."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[_Part]] = {}
        self.count = 0
        """Records that wait."""

    def add(self, kind: str, records: Records) -> None:
        """Takes records of that kind, in any order. Keeps a reference to them."""
        if len(records):
            self._waiting.setdefault(kind, []).append(_part(kind, records))
            self.count += len(records)

    def take(self, until_ns: int | None) -> dict[str, Columns]:
        """The records of a time before `until_ns`, by kind; None: all.

        In order of time, but traps (whose time is their start) in the order in which they came: those of one
        thread are then nearly always in order.
        """
        found: dict[str, Columns] = {}
        for kind, parts in self._waiting.items():
            due, later = parts, list[_Part]()
            if until_ns is not None:
                due = []
                for each in parts:
                    _split(kind, each, until_ns, due, later)
            self._waiting[kind] = later
            if not due:
                continue
            columns = Columns(concatenate([each.records for each in due]))
            times = columns[_time_field(kind)]
            if kind != "trap" and (times[1:] < times[:-1]).any():
                columns = columns[np.argsort(times, kind="stable")]
            found[kind] = columns
            self.count -= len(columns)
        return found


class _Part(NamedTuple):
    records: Records
    first_ns: int
    last_ns: int


def _time_field(kind: str) -> str:
    return schema.current().records[kind].time_field


def _part(kind: str, records: Records) -> _Part:
    times = np.ascontiguousarray(records[_time_field(kind)])
    return _Part(records, int(times.min()), int(times.max()))


# Records of a time before that go to `due`.
def _split(kind: str, part: _Part, until_ns: int, due: list[_Part], later: list[_Part]) -> None:
    if part.last_ns < until_ns:
        due.append(part)
    elif part.first_ns >= until_ns:
        later.append(part)
    else:
        mine = part.records[_time_field(kind)] < np.uint64(until_ns)
        due.append(_part(kind, part.records.compress(mine)))
        later.append(_part(kind, part.records.compress(~mine)))


def in_order(kind: str, parts: Sequence[Records]) -> Records:
    """Records of one kind, given in parts, in order of time."""
    found = concatenate(parts) if len(parts) else none(kind).records
    times = found[_time_field(kind)]
    return found.take(np.argsort(times, kind="stable")) if (times[1:] < times[:-1]).any() else found


def slices(recording: Timeline, kinds: frozenset[str]) -> Iterator[Slice]:
    """The records of these kinds in slices that follow each other in time.

    Chunk headers have the times of their records, so it is known what is still to come before a time. Records
    that come later than MOST_WAITING others are in a later slice than their time.
    """
    slicer, enough = Slicer(), SLICE
    for kind, records, following_ns in recording.timed_chunks(kinds):
        slicer.add(kind, records)
        if slicer.count < enough:
            continue
        found = slicer.take(following_ns)
        if sum(map(len, found.values())):
            yield found
        if slicer.count > MOST_WAITING:
            yield slicer.take(None)
        # Each look takes time for what still waits: no sooner than as many more have come.
        enough = min(max(SLICE, 2 * slicer.count), MOST_WAITING + 1)
    found = slicer.take(None)
    if found:
        yield found
