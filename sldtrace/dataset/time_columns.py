"""What the threads of a recording did over time, for pictures: it is read once more."""

from collections.abc import Sequence

from sldtrace.dataset.folding import fold, stops
from sldtrace.dataset.trace import Trace
from sldtrace.engine.fold import Fold
from sldtrace.engine.slices import slices
from sldtrace.engine.time_columns import TimeColumns, TimeGrid

MOST_THREADS = 32
"""Threads that have a picture of their own."""

_MOST_COLUMNS, _FEWEST_COLUMNS, _ALL_COLUMNS = 4096, 512, 20480


def read(trace: Trace, threads: Sequence[tuple[int, int, int]]) -> TimeColumns:
    """threads: TGID, TID, and from when on single traps are kept (CLOCK_MONOTONIC); the first MOST_THREADS.

    The fewer threads, the more columns.
    """
    chosen = threads[:MOST_THREADS]
    count = min(max(_ALL_COLUMNS // max(len(chosen), 1), _FEWEST_COLUMNS), _MOST_COLUMNS)
    penalty = fold(trace).penalty
    found = TimeColumns(
        [(tgid, tid) for tgid, tid, _ in chosen],
        [since for _, _, since in chosen],
        TimeGrid(*trace.span_ns, count),
        penalty.tick_ns,
        trace.core,
        stops(trace),
        penalty.sleep_jiffies + 3,
    )
    again = Fold([found])
    again.run(slices(trace.recording, again.kinds))
    found.finish()
    return found
