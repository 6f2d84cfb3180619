"""The writes of MSR_TEST_CTRL of some cores, as evidence, and the threads that wrote."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from sldtrace.dataset.rows import BATCH, Rows
from sldtrace.dataset.trace import Trace
from sldtrace.engine.cores import Cores
from sldtrace.model.early_returns import Bools
from sldtrace.recording.layout import Records

_SHOWN = 4  # of the first and of the last ones


def find(trace: Trace, cores: Iterable[int], span_ns: tuple[int, int] | None = None) -> Rows:
    """The writes on these cores, in that time (both ends included); read when they are asked for."""
    wanted = _Wanted(trace, cores, span_ns)
    count, times = 0, np.zeros(0, np.int64)
    for records in trace.recording.batches("detection", BATCH):
        mine = np.sort(records["ns"][wanted(records)].astype(np.int64))
        count += len(mine)
        times = np.union1d(times, np.concatenate([mine[:_SHOWN], mine[-_SHOWN:]]))
        times = np.concatenate([times[:_SHOWN], times[_SHOWN:][-_SHOWN:]])

    return trace.evidence("detection", count, times.tolist(), wanted)


def writers(trace: Trace, core: int, span_ns: tuple[int, int]) -> Counter[int]:
    """How often each thread wrote on this core in that time, by TID, in order of TIDs."""
    wanted = _Wanted(trace, [core], span_ns)
    found: Counter[int] = Counter()
    for records in trace.recording.batches("detection", BATCH):
        tids, counts = np.unique(records["tid"][wanted(records)], return_counts=True)
        found.update(dict(zip(tids.tolist(), counts.tolist(), strict=True)))
    return Counter({tid: found[tid] for tid in sorted(found)})


class _Wanted:
    def __init__(self, trace: Trace, cores: Iterable[int], span_ns: tuple[int, int] | None) -> None:
        self._of = Cores(trace.core)
        self._wanted = np.array(list(cores), np.int64)
        self._span = span_ns

    def __call__(self, records: Records) -> Bools:
        found: Bools = np.isin(self._of.of(records["cpu"]), self._wanted)
        if self._span is not None:
            ns = records["ns"].astype(np.int64)
            found &= (ns >= self._span[0]) & (ns <= self._span[1])
        return found
