"""Lost records that a finding may lack: those of its time and its thread."""

from dataclasses import dataclass

import numpy as np

from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.rows import BATCH
from sldtrace.dataset.trace import Trace
from sldtrace.engine.keys import joined
from sldtrace.engine.tables import Array
from sldtrace.recording import schema
from sldtrace.recording.layout import Records

READ_NS = 2_000_000_000
"""A `lost` record without `since_ns` is of no longer a time: the counters are read once a second."""


@dataclass(frozen=True)
class _Lost:
    """The losses of one kind and thread: begins and ends in ns, sorted; sums of the counts before each."""

    begins: Array
    sums_by_begin: Array
    ends: Array
    sums_by_end: Array

    def within(self, start_ns: int, end_ns: int) -> int:
        """Records of the losses that begin by `end_ns` and do not end before `start_ns`."""
        begun = self.sums_by_begin[np.searchsorted(self.begins, end_ns, "right")]
        return int(begun - self.sums_by_end[np.searchsorted(self.ends, start_ns, "left")])


def count(trace: Trace, kind: str, start_ns: int, end_ns: int, tid: int) -> int:
    """How many records of that kind were lost that may be of this time (CLOCK_MONOTONIC) and this thread.

    A loss whose thread is not known may be of any.
    """
    number, lost = schema.current().records[kind].number, _lost(trace)
    # 0: not known, so it may be this one.
    found = [lost[key] for each in {0, tid} if (key := (number, each)) in lost]
    return sum(each.within(start_ns, end_ns) for each in found)


# By number of the kind, and TID.
@per_trace
def _lost(trace: Trace) -> dict[tuple[int, int], _Lost]:
    if not trace.recording.losses:
        return {}
    parts = [_columns(one) for one in trace.recording.batches("lost", BATCH)]
    whose, begins, ends, counts = np.concatenate(parts, axis=1)
    order = np.argsort(whose, kind="stable")
    keys, heads = np.unique(whose[order], return_index=True)
    return {
        (key >> 32, key & 0xFFFFFFFF): _of(begins[mine], ends[mine], counts[mine])
        for key, mine in zip(keys.tolist(), np.split(order, heads[1:]), strict=True)
    }


def _of(begins: Array, ends: Array, counts: Array) -> _Lost:
    by_begin, by_end = np.argsort(begins), np.argsort(ends)
    return _Lost(begins[by_begin], _sums(counts[by_begin]), ends[by_end], _sums(counts[by_end]))


def _sums(counts: Array) -> Array:
    return np.append(0, np.cumsum(counts))


# Key of kind and thread, begin, end, count.
def _columns(lost: Records) -> Array:
    until = lost["ns"].astype(np.int64)
    since = _field(lost, "since_ns").astype(np.int64)
    whose = joined(lost["kind"], _field(lost, "tid")).astype(np.int64)
    begin = np.where(since > 0, since, until - READ_NS)
    return np.stack([whose, begin, until, lost["count"].astype(np.int64)])


# A field that recordings of an earlier version lack.
def _field(lost: Records, name: str) -> Array:
    return lost[name] if name in (lost.dtype.names or ()) else np.zeros(len(lost), np.int64)
