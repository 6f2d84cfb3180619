"""Turns what the probes say about lost events into `lost` records and totals."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.capture.bpf.syscalls import Runs
from sldtrace.recording import schema
from sldtrace.recording.layout import Records

EventCounts = npt.NDArray[np.uint64]

_OF = ["tgid", "tid", "cpu", "kind", "cause"]


class Losses:
    """Follows the losses of one program; see Program.event_counts for the shape of the counters.

    The probes write a `lost` record for each loss, which has its time and thread. Without room for that they
    count the loss, and only the interval between two readings of the counter is known.
    """

    def __init__(self) -> None:
        self._counted: EventCounts | None = None
        self._recorded: dict[int, int] = {}
        self._skipped = 0
        self._read_ns = time.monotonic_ns()

    def update(
        self, event_counts: EventCounts, runs: Mapping[str, Runs], recorded: Records
    ) -> npt.NDArray[Any]:
        """`lost` records for what was lost since the last call; empty if nothing was.

        recorded: those of the probes, which are summed up by thread. runs: see Program.runs; those of
        starts_trap are enough. If the probe at the start of a trap was skipped, the trap was not seen and is
        lost; if another probe was, a field of a record is missing.
        """
        before = self._counted if self._counted is not None else np.zeros_like(event_counts)
        self._counted = event_counts.copy()
        grown = event_counts - before
        grown[:, schema.current().enums["lost_cause"].values["NONE"]] = 0
        kind, cause, cpu = np.nonzero(grown)
        counted = np.zeros(len(kind), schema.current().records["lost"].dtype)
        counted["count"] = grown[kind, cause, cpu]
        counted["cpu"] = cpu
        counted["kind"] = kind
        counted["cause"] = cause
        missed = sum(one.skipped for function, one in runs.items() if starts_trap(function))
        if missed > self._skipped:
            unseen = np.zeros(1, counted.dtype)
            unseen["count"] = missed - self._skipped
            unseen["cpu"] = schema.NO_CPU
            unseen["kind"] = schema.current().records["trap"].number
            unseen["cause"] = schema.current().enums["lost_cause"].values["SKIPPED"]
            self._skipped = missed
            counted = np.concatenate([counted, unseen])
        counted["since_ns"], counted["ns"] = self._read_ns, time.monotonic_ns()
        self._read_ns = time.monotonic_ns()
        for number in recorded["kind"].tolist():
            self._recorded[number] = self._recorded.get(number, 0) + 1
        return np.concatenate([_by_thread(recorded), counted])

    def seen(self, kind: str) -> int:
        """Events of that kind that the probes have seen, recorded or lost."""
        return int(self._causes(kind)[schema.current().enums["lost_cause"].values["NONE"]].sum())

    def lost(self, kind: str) -> int:
        """Events of that kind that were seen and have no record."""
        recorded = self._recorded.get(schema.current().records[kind].number, 0)
        return recorded + int(self._causes(kind).sum()) - self.seen(kind)

    def _causes(self, kind: str) -> EventCounts:
        number = schema.current().records[kind].number
        if self._counted is None:
            return np.zeros((1, 1), np.uint64)
        causes: EventCounts = self._counted[number]
        return causes


# One record for each thread, kind, cause and CPU.
def _by_thread(recorded: Records) -> Records:
    if len(recorded) < 2:
        return recorded
    _, first, inverse = np.unique(recorded[_OF], return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    sums = recorded[first]
    sums["count"] = 0
    np.add.at(sums["count"], inverse, recorded["count"])
    np.minimum.at(sums["since_ns"], inverse, recorded["since_ns"])
    np.maximum.at(sums["ns"], inverse, recorded["ns"])
    return sums


def starts_trap(function: str) -> bool:
    """Whether a trap starts with this program: only its skipped runs are lost traps."""
    ends = ("__split_lock_warn", "__handle_guest_split_lock")
    return function.startswith(("kfunc__", "kprobe__")) and function.endswith(ends)
