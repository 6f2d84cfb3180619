"""A recording that says how far it has been read: for progress bars."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from sldtrace.recording.layout import Records
from sldtrace.recording.timeline import Timeline


class Bar(Protocol):
    """What shows one reading."""

    def update(self, steps: int) -> None:
        """Adds records that have been read."""


Begin = Callable[[int], AbstractContextManager[Bar]]


class _Observed:
    def __init__(self, timeline: Timeline, begin: Begin) -> None:
        self._timeline = timeline
        self._begin = begin

    def __getattr__(self, name: str) -> Any:
        return getattr(self._timeline, name)

    def batches(self, kind: str, most: int) -> Iterator[Records]:
        with self._begin(self._timeline.counts.get(kind, 0)) as bar:
            for records in self._timeline.batches(kind, most):
                yield records
                bar.update(len(records))

    def chunks(
        self, kind: str | None = None, times: npt.NDArray[np.uint64] | None = None
    ) -> Iterator[tuple[str, Records]]:
        if times is not None:
            # A small part.
            yield from self._timeline.chunks(kind, times)
            return
        counts = self._timeline.counts
        with self._begin(sum(counts.values()) if kind is None else counts.get(kind, 0)) as bar:
            for name, records in self._timeline.chunks(kind):
                yield name, records
                bar.update(len(records))

    def timed_chunks(self, kinds: Collection[str]) -> Iterator[tuple[str, Records, int | None]]:
        counts = self._timeline.counts
        with self._begin(sum(counts.get(kind, 0) for kind in kinds)) as bar:
            for name, records, following in self._timeline.timed_chunks(kinds):
                yield name, records, following
                bar.update(len(records))


def observed(timeline: Timeline, begin: Begin) -> Timeline:
    """The same recording; `begin` is called with the number of records when all of some kinds are read."""
    return cast(Timeline, _Observed(timeline, begin))
