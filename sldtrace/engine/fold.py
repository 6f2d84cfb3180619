"""Folds the records of a recording, or of the rings of a running one, into summaries."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Protocol

import numpy as np

from sldtrace.engine.columns import Columns, none
from sldtrace.engine.slices import Slice
from sldtrace.engine.tables import Array
from sldtrace.engine.threads import Threads
from sldtrace.engine.traps import Tracker, Traps


class Batch:
    """One slice as summaries get it: nothing in a later one is of an earlier time.

    traps: of this slice, see Traps; threads: the numbers of all threads that trapped so far.
    """

    def __init__(self, records: Slice, traps: Traps, threads: Threads) -> None:
        self._records = records
        self.traps = traps
        self.threads = threads

    def records(self, kind: str) -> Columns:
        """The records of that kind in order of time (traps: as they came)."""
        return self._records.get(kind) or none(kind)


class Summary(Protocol):
    """What one analysis keeps of the batches: its size does not grow with their number.

    It does not keep a batch or a view of it. Results are attributes or methods of each summary; they may be
    read at any time, and are those of the records so far.
    """

    kinds: ClassVar[frozenset[str]]
    """The kinds of record that it uses."""

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""


class LiveSummary(Summary, Protocol):
    """A summary of a recording that runs for days: it can forget threads."""

    def keep(self, threads: Array) -> None:
        """Forgets all other threads; these are numbered from 0 in this order from now on."""


class Fold:
    """Brings slices to summaries."""

    def __init__(self, summaries: Sequence[Summary]) -> None:
        self.summaries = summaries
        self.tracker = Tracker()

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of record that the summaries use."""
        return frozenset().union(*(each.kinds for each in self.summaries))

    def update(self, records: Slice) -> None:
        """Adds the next slice."""
        tracker = self.tracker
        traps = tracker.traps(records.get("trap") or none("trap"))
        batch = Batch(records, traps, tracker.threads)
        for each in self.summaries:
            each.update(batch)

    def run(self, slices: Iterable[Slice]) -> None:
        """Adds all slices."""
        for each in slices:
            self.update(each)


class LiveFold(Fold):
    """A fold that keeps a bounded number of threads."""

    def __init__(self, summaries: Sequence[LiveSummary]) -> None:
        super().__init__(summaries)
        self._live = summaries

    def forget(self, most: int) -> None:
        """Keeps at most `most` threads: those whose last traps ended last."""
        threads = self.tracker.threads
        if len(threads) <= most:
            return
        kept = np.sort(np.argpartition(self.tracker.last_ends, len(threads) - most)[len(threads) - most :])
        self.tracker.keep(kept)
        for each in self._live:
            each.keep(kept)
