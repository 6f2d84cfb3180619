"""Turns the probes' counters into `lost` records and totals."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.capture.bpf.syscalls import Runs
from sldtrace.recording import schema

EventCounts = npt.NDArray[np.uint64]


class Losses:
    """Follows the counters of one program; see Program.event_counts for their shape."""

    def __init__(self) -> None:
        self._previous: EventCounts | None = None
        self._skipped = 0

    def update(self, event_counts: EventCounts, runs: Mapping[str, Runs]) -> npt.NDArray[Any]:
        """`lost` records for what was lost since the last call; empty if nothing was.

        runs: see Program.runs; those of starts_trap are enough. If the probe at the start of a trap was
        skipped, the trap was not seen and is lost; if another probe was, a field of a record is missing.
        """
        before = self._previous if self._previous is not None else np.zeros_like(event_counts)
        self._previous = event_counts.copy()
        grown = event_counts - before
        grown[:, schema.current().enums["lost_cause"].values["NONE"]] = 0
        kind, cause, cpu = np.nonzero(grown)
        records = np.zeros(len(kind), schema.current().records["lost"].dtype)
        records["ns"] = time.monotonic_ns()
        records["count"] = grown[kind, cause, cpu]
        records["cpu"] = cpu
        records["kind"] = kind
        records["cause"] = cause
        missed = sum(one.skipped for function, one in runs.items() if starts_trap(function))
        if missed > self._skipped:
            unseen = np.zeros(1, records.dtype)
            unseen["ns"] = time.monotonic_ns()
            unseen["count"] = missed - self._skipped
            unseen["cpu"] = schema.NO_CPU
            unseen["kind"] = schema.current().records["trap"].number
            unseen["cause"] = schema.current().enums["lost_cause"].values["SKIPPED"]
            self._skipped = missed
            records = np.concatenate([records, unseen])
        return records

    def seen(self, kind: str) -> int:
        """Events of that kind that the probes have seen, recorded or lost."""
        return int(self._causes(kind)[schema.current().enums["lost_cause"].values["NONE"]].sum())

    def lost(self, kind: str) -> int:
        """Events of that kind that were seen and have no record."""
        seen = schema.current().enums["lost_cause"].values["NONE"]
        return int(self._causes(kind).sum()) - int(self._causes(kind)[seen].sum())

    def _causes(self, kind: str) -> EventCounts:
        number = schema.current().records[kind].number
        if self._previous is None:
            return np.zeros((1, 1), np.uint64)
        causes: EventCounts = self._previous[number]
        return causes


def starts_trap(function: str) -> bool:
    """Whether a trap starts with this program: only its skipped runs are lost traps."""
    ends = ("__split_lock_warn", "__handle_guest_split_lock")
    return function.startswith(("kfunc__", "kprobe__")) and function.endswith(ends)
