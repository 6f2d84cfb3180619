"""When split-lock detection was off on which core, from the writes of MSR_TEST_CTRL and the traps."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from sldtrace import levels
from sldtrace.analyzers import cores
from sldtrace.analyzers.once import per_trace
from sldtrace.rules.early_returns import DETECT
from sldtrace.trace import Trace

WRITTEN, TRAPPED, OPEN = "written", "trapped", "open"
"""How a window ended: by a write; a trap shows that detection was on again; it was not seen to end."""

_OFF, _ON, _TRAP, _STOP = 0, 1, 2, 3


@per_trace
def off(trace: Trace) -> pd.DataFrame:
    """One row a window, by core and time.

    Columns: core; start_ns, the write that switched detection off; last_ns, the last such write before it
    was on again; writes, how many; end_ns; ended, one of WRITTEN, TRAPPED and OPEN (then end_ns is when
    nobody looked any more).
    """
    writes, traps = trace.detection, trace.traps
    watched = watching(trace)
    stops = [end for _, end in watched] or [trace.span_ns[1]]
    every = np.unique(cores.of(writes["cpu"], trace.core))
    is_off = (writes["value"].to_numpy() & DETECT) == 0
    # In this order, for a trap comes before its own write even if the clock does not tell.
    parts = [
        (cores.of(traps["enter_cpu"], trace.core), traps["enter_ns"], np.full(len(traps), _TRAP)),
        (cores.of(writes["cpu"], trace.core), writes["ns"], np.where(is_off, _OFF, _ON)),
        (np.tile(every, len(stops)), np.repeat(stops, len(every)), np.full(len(stops) * len(every), _STOP)),
    ]
    columns = [np.concatenate([np.asarray(part[n], np.int64) for part in parts]) for n in range(3)]
    events = pd.DataFrame(dict(zip(("core", "ns", "what"), columns, strict=True)))
    events = events.sort_values(["core", "ns"], kind="stable", ignore_index=True)
    core, ns, what = (events[name].to_numpy() for name in ("core", "ns", "what"))
    return _windows(core, ns, what)


def _windows(
    core: npt.NDArray[np.int64], ns: npt.NDArray[np.int64], what: npt.NDArray[np.int64]
) -> pd.DataFrame:
    before = np.concatenate([[-1], np.where(what[:-1] == _OFF, core[:-1], -1)])[: len(what)]
    begins = np.flatnonzero((what == _OFF) & (before != core))
    ends = np.flatnonzero(what != _OFF)
    # Each core has a last event that is no write: the stop.
    after = ends[np.searchsorted(ends, begins)] if len(begins) else begins
    names = np.array([OPEN, WRITTEN, TRAPPED, OPEN], dtype=object)
    return pd.DataFrame(
        {
            "core": core[begins],
            "start_ns": ns[begins],
            "last_ns": ns[after - 1],
            "writes": after - begins,
            "end_ns": ns[after],
            "ended": names[what[after]],
        }
    )


def watching(trace: Trace) -> list[tuple[int, int]]:
    """When writes of MSR_TEST_CTRL were watched; all the time where nothing says so (simulated)."""
    return levels.watched(trace) or ([trace.span_ns] if len(trace.detection) else [])


def overlapping(
    windows: pd.DataFrame,
    core: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """For each stay on a core from start to end: was detection off there at some time of it?"""
    found: npt.NDArray[np.bool_] = np.zeros(len(core), bool)
    for each, rows in windows.groupby("core", sort=False):
        here = core == each
        begun = np.searchsorted(rows["start_ns"].to_numpy(), end[here])
        last = rows["end_ns"].to_numpy()[np.maximum(begun - 1, 0)]
        found[here] = (begun > 0) & (last > start[here])
    return found
