"""Turns the probes' counters into `lost` records and totals: nothing is lost without being counted."""

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.recording import schema

Tallies = npt.NDArray[np.uint64]


class Losses:
    """Follows the counters of one program; see Program.tallies for their shape."""

    def __init__(self) -> None:
        self._previous: Tallies | None = None

    def update(self, tallies: Tallies) -> npt.NDArray[Any]:
        """`lost` records for what was lost since the last call; an empty array when nothing was."""
        before = self._previous if self._previous is not None else np.zeros_like(tallies)
        self._previous = tallies.copy()
        grown = tallies - before
        grown[:, schema.current().enums["lost_cause"].values["NOTHING"]] = 0
        kind, cause, cpu = np.nonzero(grown)
        records = np.zeros(len(kind), schema.current().records["lost"].dtype)
        records["ns"] = time.monotonic_ns()
        records["count"] = grown[kind, cause, cpu]
        records["cpu"] = cpu
        records["kind"] = kind
        records["cause"] = cause
        return records

    def seen(self, kind: str) -> int:
        """Events of that kind that the probes have seen, whatever became of them."""
        return int(self._of(kind)[schema.current().enums["lost_cause"].values["NOTHING"]].sum())

    def lost(self, kind: str) -> int:
        """Events of that kind that were seen and will never be records."""
        nothing = schema.current().enums["lost_cause"].values["NOTHING"]
        return int(self._of(kind).sum()) - int(self._of(kind)[nothing].sum())

    def _of(self, kind: str) -> Tallies:
        number = schema.current().records[kind].number
        if self._previous is None:
            return np.zeros((1, 1), np.uint64)
        causes: Tallies = self._previous[number]
        return causes
