"""Puts records that come nearly in order of time into slices that follow each other in time."""

from collections.abc import Iterator, Mapping

import numpy as np

from sldtrace.recording import schema
from sldtrace.recording.layout import Records
from sldtrace.recording.timeline import Timeline

SLICE = 1 << 15
"""Records of a slice, about: enough to make numpy's calls cheap, few enough for the CPU's cache."""

MOST_WAITING = 1 << 19
"""Records that wait for others to come first; with more of them the order is given up: see Slicer.take."""

Slice = Mapping[str, Records]


class Slicer:
    """Keeps records until all earlier ones have come."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Records]] = {}
        self.count = 0
        """Records that wait."""

    def add(self, kind: str, records: Records) -> None:
        """Takes records of that kind, in any order. Keeps a reference to them."""
        if len(records):
            self._waiting.setdefault(kind, []).append(records)
            self.count += len(records)

    def take(self, until_ns: int | None) -> dict[str, Records]:
        """The records of a time before `until_ns`, by kind; None: all.

        In order of time, but traps (whose time is their start) in the order in which they came: those of one
        thread are then nearly always in order.
        """
        found: dict[str, Records] = {}
        for kind, parts in self._waiting.items():
            whole = _joined(parts)
            times = whole[schema.current().records[kind].time_field]
            due = whole
            parts.clear()
            if until_ns is not None and len(whole) and int(times.max()) >= until_ns:
                mine = times < np.uint64(max(until_ns, 0))
                due = whole[mine]
                parts.append(whole[~mine])
                times = times[mine]
            if not len(due):
                continue
            if kind != "trap" and (times[1:] < times[:-1]).any():
                due = due[np.argsort(times, kind="stable")]
            found[kind] = due
            self.count -= len(due)
        self._waiting = {kind: parts for kind, parts in self._waiting.items() if parts}
        return found


# numpy.concatenate copies field by field, which takes five times as long.
def _joined(parts: list[Records]) -> Records:
    if len(parts) == 1 or any(each.dtype != parts[0].dtype for each in parts):
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    whole = np.empty(sum(map(len, parts)), parts[0].dtype)
    np.concatenate([np.ascontiguousarray(each).view(np.uint8) for each in parts], out=whole.view(np.uint8))
    return whole


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
        # Each look copies what still waits: no sooner than as many more have come.
        enough = min(max(SLICE, 2 * slicer.count), MOST_WAITING + 1)
    found = slicer.take(None)
    if found:
        yield found
