"""Recordings as tables, one for each kind of record, some rows at a time."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pandas as pd

from sldtrace.dataset import frames
from sldtrace.dataset.frames import Column
from sldtrace.dataset.trace import Trace
from sldtrace.errors import SldtraceError
from sldtrace.recording import schema as schemas

BATCH = 1 << 16
"""Rows of a part of a table, if nothing else is said."""

TIME = "time"


def kinds(trace: Trace, wanted: Collection[str]) -> list[str]:
    """The kinds of record that there are, in the order of bpf/events.h; of these if any are wanted."""
    known = schemas.current().records
    return [kind for kind in known if trace.recording.counts.get(kind, 0) and (not wanted or kind in wanted)]


def columns(kind: str) -> dict[str, Column]:
    """The columns of its table: `time`, then those of frames.described."""
    return {
        TIME: Column("datetime64[ns, UTC]", "time", "of the record; empty: not known")
    } | frames.described(kind)


def parts(trace: Trace, kind: str, most: int | None = None) -> Iterator[pd.DataFrame]:
    """The table in parts of at most `most` rows, in the order of the file, which is nearly that of time.

    Names are texts.
    """
    most = BATCH if most is None else most
    named = [name for name, column in frames.described(kind).items() if column.dtype == "category"]
    time = schemas.current().records[kind].time_field
    for records in trace.recording.batches(kind, most):
        for start in range(0, len(records), most):
            frame = trace.rows_of(kind, [records[start : start + most]]).frame()
            frame = frame.astype(dict.fromkeys(named, str))
            frame.insert(0, TIME, _wall(trace, frame[time]))
            yield frame


def _wall(trace: Trace, times: "pd.Series[int]") -> "pd.Series[pd.Timestamp]":
    try:
        return frames.wall_clock(trace.recording, times)
    except SldtraceError:
        return pd.Series(pd.NaT, index=times.index, dtype="datetime64[ns, UTC]")


def described(trace: Trace, wanted: Collection[str]) -> dict[str, Any]:
    """What is beside the tables: facts, what was lost, and the meaning of every column."""
    recording = trace.recording
    return {
        "facts": trace.facts,
        "closing": recording.closing,
        "losses": [vars_of(loss) for loss in recording.losses],
        "gaps": [[gap.start_ns, gap.end_ns, gap.missing] for gap in recording.gaps],
        "warnings": recording.warnings,
        "records": {kind: recording.counts[kind] for kind in kinds(trace, wanted)},
        "left_out": left_out(trace, kinds(trace, wanted)),
        "columns": {
            kind: {
                name: {"type": column.dtype, "unit": column.unit, "meaning": column.meaning}
                for name, column in columns(kind).items()
            }
            for kind in kinds(trace, wanted)
        },
    }


def vars_of(loss: Any) -> dict[str, Any]:
    """A loss as plain data."""
    return {name: getattr(loss, name) for name in ("kind", "cause", "cpu", "count")}


def left_out(trace: Trace, written: Collection[str]) -> Mapping[str, int]:
    """How many records of which kinds are not written."""
    return {kind: count for kind, count in trace.recording.counts.items() if count and kind not in written}


def text(trace: Trace, wanted: Collection[str]) -> str:
    """`described` as JSON, in ASCII."""
    return json.dumps(described(trace, wanted), indent=2) + "\n"
