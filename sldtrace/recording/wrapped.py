"""A timeline that changes what another one gives; a subclass overrides what is different."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.recording.discarded import Discarded
from sldtrace.recording.layout import Records, Schema
from sldtrace.recording.timeline import Gap, Loss, Part, Timeline
from sldtrace.recording.upgrade import Upgrade


class WrappedTimeline:
    """The timeline `recording` as it is, but for its records: see `changed` and `timeline.Timeline`."""

    def __init__(self, recording: Timeline) -> None:
        self._recording = recording
        self.path: Path = recording.path

    def changed(self, kind: str, records: Records) -> Records:
        """What stands for these records of that kind; they are not written to."""
        return records

    @property
    def facts(self) -> Mapping[str, Any]:
        """See Timeline."""
        return self._recording.facts

    @property
    def updates(self) -> Sequence[Mapping[str, Any]]:
        """See Timeline."""
        return self._recording.updates

    @property
    def closing(self) -> Mapping[str, Any] | None:
        """See Timeline."""
        return self._recording.closing

    @property
    def schema(self) -> Schema:
        """See Timeline."""
        return self._recording.schema

    @property
    def discarded(self) -> Discarded | None:
        """See Timeline."""
        return self._recording.discarded

    @property
    def closed(self) -> bool:
        """See Timeline."""
        return self._recording.closed

    @property
    def damaged(self) -> bool:
        """See Timeline."""
        return self._recording.damaged

    @property
    def size(self) -> int:
        """See Timeline."""
        return self._recording.size

    @property
    def warnings(self) -> list[str]:
        """See Timeline."""
        return self._recording.warnings

    @property
    def counts(self) -> Mapping[str, int]:
        """See Timeline."""
        return self._recording.counts

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """See Timeline."""
        return self._recording.span_ns

    @property
    def losses(self) -> list[Loss]:
        """See Timeline."""
        return self._recording.losses

    @property
    def parts(self) -> Sequence[Part]:
        """See Timeline."""
        return self._recording.parts

    @property
    def gaps(self) -> Sequence[Gap]:
        """See Timeline."""
        return self._recording.gaps

    def upgrade(self, kind: str) -> Upgrade:
        """See Timeline."""
        return self._recording.upgrade(kind)

    def batches(self, kind: str, most: int) -> Iterator[Records]:
        """See Timeline."""
        for records in self._recording.batches(kind, most):
            if len(kept := self.changed(kind, records)):
                yield kept

    def records(self, kind: str) -> Records:
        """See Timeline."""
        return self.changed(kind, self._recording.records(kind))

    def chunks(
        self, kind: str | None = None, times: npt.NDArray[np.uint64] | None = None
    ) -> Iterator[tuple[str, Records]]:
        """See Timeline."""
        for name, records in self._recording.chunks(kind, times):
            if len(kept := self.changed(name, records)):
                yield name, kept

    def timed_chunks(self, kinds: Collection[str]) -> Iterator[tuple[str, Records, int | None]]:
        """See Timeline."""
        for name, records, following in self._recording.timed_chunks(kinds):
            yield name, self.changed(name, records), following

    def close(self) -> None:
        """See Timeline."""
        self._recording.close()
