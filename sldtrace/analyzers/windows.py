"""When split-lock detection was off on which core, from the writes of MSR_TEST_CTRL and the traps."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from sldtrace.analyzers import cores
from sldtrace.dataset import levels
from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.trace import Trace
from sldtrace.host.msr import DETECT

WRITTEN, TRAPPED, OPEN = "written", "trapped", "open"
"""How a window ended: by a write; a trap shows that detection was on again; it was not seen to end."""

_OFF, _ON, _TRAP, _STOP = 0, 1, 2, 3


@per_trace
def find_windows(trace: Trace) -> pd.DataFrame:
    """One row a window, by core and time.

    Columns: core; start_ns, the write that switched detection off; last_ns, the last such write before it
    was on again; writes, how many; end_ns; ended, one of WRITTEN, TRAPPED and OPEN (then end_ns is when
    watching ended).
    """
    writes = trace.rows("detection")
    stops = [end for _, end in watching(trace)] or [trace.span_ns[1]]
    core, ns = cores.of_cpus(writes["cpu"], trace.core), writes["ns"].to_numpy()
    what = np.where((writes["value"].to_numpy() & DETECT) == 0, _OFF, _ON)
    every = np.unique(core)
    trapped, enter = _trapped(trace, core, ns, what == _OFF)
    # In this order, for a trap comes before its own write even if the clock does not tell.
    parts = [
        (trapped, enter, np.full(len(enter), _TRAP)),
        (core, ns, what),
        (np.tile(every, len(stops)), np.repeat(stops, len(every)), np.full(len(stops) * len(every), _STOP)),
    ]
    core, ns, what = (np.concatenate([np.asarray(part[n], np.int64) for part in parts]) for n in range(3))
    order = np.lexsort((ns, core))
    return _windows(core[order], ns[order], what[order])


# Of the traps those that may end a window: the first one after each write that switched detection off, if it
# comes before the next write there. Their cores and times.
def _trapped(
    trace: Trace, core: npt.NDArray[np.int64], ns: npt.NDArray[np.int64], off: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    traps = trace.rows("trap")
    on, enter = cores.of_cpus(traps["start_cpu"], trace.core), traps["start_ns"].to_numpy()
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for each in np.unique(core):
        here, entered = ns[core == each], enter[on == each]
        until = np.append(here[1:], np.iinfo(np.int64).max)
        since = off[core == each]
        first = np.searchsorted(entered, here[since], "right")
        there = first < len(entered)
        times = entered[first[there]]
        times = np.unique(times[times <= until[since][there]])
        found.append((np.full(len(times), each), times))
    return np.concatenate([each for each, _ in found]), np.concatenate([times for _, times in found])


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
    return levels.watched(trace) or ([] if trace.rows("detection").empty else [trace.span_ns])


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
