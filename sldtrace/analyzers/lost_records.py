"""Lost records that a finding may lack: those of its time, and of its thread where that is known."""

import numpy as np

from sldtrace.dataset.rows import BATCH
from sldtrace.dataset.trace import Trace
from sldtrace.engine.tables import Array
from sldtrace.recording import schema
from sldtrace.recording.layout import Records

READ_NS = 2_000_000_000
"""A `lost` record without `since_ns` is of no longer a time: the counters are read once a second."""


def count(trace: Trace, kind: str, start_ns: int, end_ns: int, tid: int | None = None) -> int:
    """How many records of that kind were lost that may be of this time (CLOCK_MONOTONIC).

    tid: and of this thread; a loss whose thread is not known may be of any.
    """
    if not any(loss.kind == kind for loss in trace.recording.losses):
        return 0
    number = schema.current().records[kind].number
    total = 0
    for lost in trace.recording.batches("lost", BATCH):
        until = lost["ns"].astype(np.int64)
        mine = (lost["kind"] == number) & (until >= start_ns) & (_since(lost, until) <= end_ns)
        if tid is not None:
            mine &= np.isin(_field(lost, "tid"), [0, tid])
        total += int(lost["count"][mine].sum())
    return total


def _since(lost: Records, until: Array) -> Array:
    known = _field(lost, "since_ns").astype(np.int64)
    return np.where(known > 0, known, until - READ_NS)


# A field that recordings of an earlier version lack.
def _field(lost: Records, name: str) -> Array:
    return lost[name] if name in (lost.dtype.names or ()) else np.zeros(len(lost), np.int64)
