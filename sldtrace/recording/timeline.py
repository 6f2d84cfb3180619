"""How recordings are read: one file, or the files of one host in order of time, which `joined` joins."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sldtrace.recording.discarded import Discarded
from sldtrace.recording.layout import Records, Schema
from sldtrace.recording.upgrade import Upgrade


@dataclass(frozen=True, slots=True)
class Loss:
    """How many records of one kind were lost on one CPU for one cause (names as in bpf/events.h)."""

    kind: str
    cause: str
    cpu: int
    count: int


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a timeline: its name, not escaped; when it begins and ends (CLOCK_MONOTONIC); its traps."""

    name: str
    start_ns: int
    end_ns: int
    traps: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A time between two files in which nothing was recorded (CLOCK_MONOTONIC).

    before, after: the names of the files, not escaped; missing: how many files of that recording are not
    there (record --rotate), 0 where the recorder did not run.
    """

    start_ns: int
    end_ns: int
    before: str
    after: str
    missing: int


class Timeline(Protocol):
    """What is read of the recordings of one boot of one host; `reader.Recording` has the meanings.

    path: the first file; parts: the files, in order of time; gaps: the times between them in which nothing
    was recorded.
    """

    path: Path

    @property
    def facts(self) -> Mapping[str, Any]: ...
    @property
    def updates(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def closing(self) -> Mapping[str, Any] | None: ...
    @property
    def schema(self) -> Schema: ...
    @property
    def discarded(self) -> Discarded | None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def damaged(self) -> bool: ...
    @property
    def size(self) -> int: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def span_ns(self) -> tuple[int, int] | None: ...
    @property
    def losses(self) -> list[Loss]: ...
    @property
    def parts(self) -> Sequence[Part]: ...
    @property
    def gaps(self) -> Sequence[Gap]: ...

    def upgrade(self, kind: str) -> Upgrade: ...
    def batches(self, kind: str, most: int) -> Iterator[Records]: ...
    def records(self, kind: str) -> Records: ...
    def chunks(
        self, kind: str | None = None, times: npt.NDArray[np.uint64] | None = None
    ) -> Iterator[tuple[str, Records]]: ...
    def timed_chunks(self, kinds: Collection[str]) -> Iterator[tuple[str, Records, int | None]]: ...
    def close(self) -> None: ...
