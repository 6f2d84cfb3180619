"""A recording as the analyzers see it: typed frames, the facts of the host, and who is who."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from sldtrace import escape, frames
from sldtrace.errors import SldtraceError
from sldtrace.recording import reader


@dataclass(frozen=True)
class Subject:
    """A thread: names of process and thread (escaped; empty if unknown) and its vCPU (None if unknown)."""

    process: str
    tgid: int
    thread: str
    tid: int
    vcpu: int | None


@dataclass(frozen=True)
class Trace:
    """One recording, opened."""

    recording: reader.Recording

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """The opening facts with what was added since, groups merged; see host.facts.read for the names."""
        facts: dict[str, Any] = dict(self.recording.facts)
        for update in self.recording.updates:
            for name, value in update.items():
                old = facts.get(name)
                facts[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        return facts

    def fact(self, group: str, name: str, otherwise: Any = None) -> Any:
        """One fact; `otherwise` where the recording does not have it (damaged, or of an older version)."""
        values = self.facts.get(group)
        return values.get(name, otherwise) if isinstance(values, dict) else otherwise

    @property
    def span_ns(self) -> tuple[int, int]:
        """When recording began and ended (CLOCK_MONOTONIC); from the records where the facts are missing."""
        first, last = self.recording.span_ns or (0, 0)
        start = self.fact("clock", "monotonic_ns", first)
        closing = self.recording.closing or {}
        end = closing.get("clock", {}).get("monotonic_ns", max(last, start))
        return start, end

    def wall_ns(self, monotonic_ns: int) -> int | None:
        """Wall time (ns since 1970, UTC) of a CLOCK_MONOTONIC time; None where the facts are lost."""
        try:
            moments = frames.wall_clock(self.recording, pd.Series([monotonic_ns]))
        except SldtraceError:
            return None
        return int(moments.iloc[0].value)

    @cached_property
    def traps(self) -> pd.DataFrame:
        """One row a trap, by `enter_ns`; columns as in docs/recording-format.md, flags as booleans."""
        return frames.frame(self.recording, "trap")

    @cached_property
    def _names(self) -> dict[int, str]:
        tasks = self.recording.records("task")
        return {int(task["tid"]): escape.comm(bytes(task["comm"])) for task in tasks}

    def subject(self, tgid: int, tid: int, vcpu: int | None) -> Subject:
        """Who a thread is; names are escaped and empty where the recording does not have them."""
        process = self.fact("processes", str(tgid), {}).get("comm", self._names.get(tgid, ""))
        return Subject(escape.escape(process), tgid, self._names.get(tid, ""), tid, vcpu)


def load(path: Path) -> Trace:
    """Opens a recording; raises SldtraceError where there is nothing to read."""
    return Trace(reader.open_recording(path))
