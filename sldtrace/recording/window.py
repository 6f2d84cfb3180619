"""A timeline between two times: what is recorded before and after them is left out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from sldtrace.recording.discarded import Discarded
from sldtrace.recording.layout import Records
from sldtrace.recording.losses import lost_sums, named_losses
from sldtrace.recording.timeline import Gap, Loss, Part, Timeline
from sldtrace.recording.wrapped import WrappedTimeline

WINDOW = "window"
"""The closing fact `ended_by` of such a timeline."""

_ALWAYS = frozenset({"task"})  # who is who
_OF_THE_WHOLE = frozenset({"seen", "unfinished", "filtered", "skipped", "cost", "split_lock"})
_BATCH = 1 << 16


class Window(WrappedTimeline):
    """The records whose time is from `start` on and before `end`; of traps, the time of their start.

    start, end: each a moment on both clocks of the recording, CLOCK_MONOTONIC and ns since 1970.
    """

    def __init__(
        self, recording: Timeline, start: tuple[int, int | None], end: tuple[int, int | None]
    ) -> None:
        super().__init__(recording)
        self._start, self._end = start, end

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """The opening facts, with the clocks of the start."""
        return {**self._recording.facts, "clock": _clock(self._start)}

    @cached_property
    def closing(self) -> Mapping[str, Any]:
        """The closing facts with the clocks of the end, without sums over the whole recording."""
        facts = self._recording.closing or {}
        kept = {name: value for name, value in facts.items() if name not in _OF_THE_WHOLE}
        return {**kept, "clock": _clock(self._end), "ended_by": WINDOW}

    @property
    def discarded(self) -> Discarded | None:
        """None: what was removed before the window is not missing in it."""
        return None

    @property
    def closed(self) -> bool:
        """Does it have an end? It has, unless the recording has none and ends in the window."""
        span = self._recording.span_ns
        return self._recording.closed or span is None or self._end[0] < span[1]

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many records of each kind are in the window."""
        found = dict.fromkeys(self._recording.counts, 0)
        for kind, count in self._recording.counts.items():
            if count:
                found[kind] = sum(len(records) for records in self.batches(kind, _BATCH))
        return found

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """The window, if there are records."""
        span = self._recording.span_ns
        return None if span is None else (self._start[0], self._end[0])

    @cached_property
    def losses(self) -> list[Loss]:
        """Sums of the records that were lost in the window."""
        return named_losses(lost_sums(self.records("lost")), self.schema)

    @property
    def parts(self) -> Sequence[Part]:
        """The files that have a part of the window."""
        start, end = self._start[0], self._end[0]
        kept = [each for each in self._recording.parts if each.start_ns < end and each.end_ns > start]
        return [
            replace(each, start_ns=max(each.start_ns, start), end_ns=min(each.end_ns, end)) for each in kept
        ] or self._recording.parts[:1]

    @property
    def gaps(self) -> Sequence[Gap]:
        """Those in the window."""
        start, end = self._start[0], self._end[0]
        return [each for each in self._recording.gaps if each.start_ns < end and each.end_ns > start]

    def changed(self, kind: str, records: Records) -> Records:
        """See WrappedTimeline."""
        if kind in _ALWAYS or not records.dtype.names:
            return records
        times = records[records.dtype.names[0]].astype(np.int64)
        inside = times < self._end[0]
        if kind != "detail":  # the levels before the window hold in it
            inside &= times >= self._start[0]
        return records if inside.all() else records[inside]


def _clock(moment: tuple[int, int | None]) -> dict[str, int]:
    monotonic_ns, wall_ns = moment
    return {"monotonic_ns": monotonic_ns} | ({} if wall_ns is None else {"realtime_ns": wall_ns})
