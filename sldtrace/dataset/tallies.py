"""Counts of equal records, and the largest ones, without all records in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sldtrace.dataset.rows import BATCH, Array
from sldtrace.dataset.trace import Trace
from sldtrace.host import exits
from sldtrace.lazy import pd
from sldtrace.recording import schema as schemas
from sldtrace.recording.layout import Records

MOST = 1 << 18
"""Different combinations that are counted; of more, the rarest so far are left out each time."""


def value_counts(trace: Trace, kind: str, *names: str) -> pd.DataFrame:
    """One row for each combination of values in these fields (numbers), and `count`: the most frequent first.

    Of equally many, the first in time comes first.
    """
    time = schemas.current().records[kind].time_field
    found = pd.DataFrame({name: np.zeros(0, np.int64) for name in (*names, "count", "first")})
    for records in trace.recording.batches(kind, BATCH):
        found = _together(pd.concat([found, _counted(records, time, names)]), names)
        if len(found) > MOST:
            found = found.nlargest(MOST, "count")
    found = found.sort_values(["count", "first"], ascending=[False, True], kind="stable", ignore_index=True)
    return found.drop(columns="first")


def user_exits(trace: Trace) -> pd.DataFrame:
    """One row for each thread and name of the recorded returns to the VMM, the most frequent first.

    Columns: tgid, tid, name (as in frames.DERIVED) and count.
    """
    found = value_counts(trace, "user_exit", "tgid", "tid", "reason", "error")
    pairs = zip(found.pop("reason"), found.pop("error"), strict=True)
    found.insert(2, "name", pd.Series([exits.user_name(*pair) for pair in pairs], dtype=str))
    found = found.groupby(["tgid", "tid", "name"], sort=False, as_index=False).sum()
    return found.sort_values("count", ascending=False, kind="stable", ignore_index=True)


def largest(trace: Trace, kind: str, size: Callable[[Records], Array], most: int) -> pd.DataFrame:
    """The records of that kind with the largest sizes, the largest first; columns: frames.described."""
    kept = np.zeros(0, trace.recording.upgrade(kind).dtype)
    time = schemas.current().records[kind].time_field
    for records in trace.recording.batches(kind, BATCH):
        found = np.concatenate([kept, records])
        found = found[np.argsort(found[time], kind="stable")]
        kept = found[np.argsort(-size(found), kind="stable")[:most]]
    order = np.argsort(kept[time], kind="stable")
    frame = trace.rows_of(kind, [kept[order]] if len(kept) else []).frame()
    return frame.iloc[np.argsort(-size(kept[order]), kind="stable")].reset_index(drop=True)


def _counted(records: Records, time: str, names: Sequence[str]) -> pd.DataFrame:
    columns = [records[name].astype(np.int64) for name in names]
    order = np.lexsort(columns[::-1]) if len(columns) > 1 else np.argsort(columns[0], kind="stable")
    begins = np.ones(len(order), bool)
    begins[1:] = False
    for column in columns:
        begins[1:] |= column[order][1:] != column[order][:-1]
    heads = np.flatnonzero(begins)
    found = {name: column[order][heads] for name, column in zip(names, columns, strict=True)}
    found["count"] = np.diff(heads, append=len(order))
    found["first"] = np.minimum.reduceat(records[time][order].astype(np.int64), heads)
    return pd.DataFrame(found)


def _together(counts: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    return counts.groupby(list(names), sort=False, as_index=False).agg({"count": "sum", "first": "min"})
