"""A recording that says how far it has been read: for progress bars."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sldtrace.recording.layout import Records
from sldtrace.recording.timeline import Timeline
from sldtrace.recording.wrapped import WrappedTimeline


class Bar(Protocol):
    """What shows one reading."""

    def update(self, steps: int) -> None:
        """Adds records that have been read."""


Begin = Callable[[int], AbstractContextManager[Bar]]


class Observed(WrappedTimeline):
    """The same recording; `begin` is called with the number of records when all of some kinds are read."""

    def __init__(self, timeline: Timeline, begin: Begin) -> None:
        super().__init__(timeline)
        self._begin = begin

    def batches(self, kind: str, most: int) -> Iterator[Records]:
        """See Timeline."""
        with self._begin(self._recording.counts.get(kind, 0)) as bar:
            for records in self._recording.batches(kind, most):
                yield records
                bar.update(len(records))

    def chunks(
        self, kind: str | None = None, times: npt.NDArray[np.uint64] | None = None
    ) -> Iterator[tuple[str, Records]]:
        """See Timeline."""
        if times is not None:
            # A small part.
            yield from self._recording.chunks(kind, times)
            return
        counts = self._recording.counts
        with self._begin(sum(counts.values()) if kind is None else counts.get(kind, 0)) as bar:
            for name, records in self._recording.chunks(kind):
                yield name, records
                bar.update(len(records))

    def timed_chunks(self, kinds: Collection[str]) -> Iterator[tuple[str, Records, int | None]]:
        """See Timeline."""
        counts = self._recording.counts
        with self._begin(sum(counts.get(kind, 0) for kind in kinds)) as bar:
            for name, records, following in self._recording.timed_chunks(kinds):
                yield name, records, following
                bar.update(len(records))
