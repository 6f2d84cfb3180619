"""Writes the records of a recording again as the files of --rotate, cut at given times."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sldtrace.dataset.trace import Trace
from sldtrace.recording import schema
from sldtrace.recording.layout import Records
from sldtrace.recording.merging import merge
from sldtrace.recording.rotation import Rotation, RotationOptions, segments
from sldtrace.recording.timeline import Timeline

_WRITTEN = {"trap": "end_ns", "stall": "end_ns"}
"""The field with the time at which a record is written, where it is not the first one."""


def rotate(source: Timeline, target: Path, cuts: Sequence[int]) -> list[Path]:
    """The files target.0001, ... of the records up to each of `cuts` (CLOCK_MONOTONIC), and of the rest.

    Between two cuts there must be records. The facts of all of it are in each file, the closing facts in the
    last one.
    """
    facts: dict[str, Any] = dict(source.facts)
    for update in source.updates:
        facts = merge(facts, update)
    start = source.facts["clock"]["monotonic_ns"]
    moments = iter([start, *(each for cut in cuts for each in (cut, cut))])
    recorded = Trace(source)

    def moment() -> dict[str, Any]:
        # Called for the first file, then at the beginning of each file and at the end of the one before.
        at = next(moments)
        return {"clock": {"monotonic_ns": at, "realtime_ns": recorded.wall_ns(at)}}

    cuts = [*cuts, np.iinfo(np.int64).max]
    out = Rotation(target, facts, RotationOptions(bytes=1), moment)
    done = -1
    for place, cut in enumerate(cuts):
        for kind in source.schema.records:
            records = source.records(kind)
            names = records.dtype.names or ()
            times = records[_WRITTEN.get(kind, names[0])].astype(np.int64)
            chosen = records[(times > done) & (times <= cut)]
            if len(chosen):
                out.append(kind, _current(kind, chosen))
        done = cut
        if place < len(cuts) - 1:
            out.flush()
    out.close(source.closing or {})
    files = list(segments(target).values())
    assert len(files) == len(cuts), "records between all cuts"
    return files


def _current(kind: str, records: Records) -> Records:
    """In the layout that a writer of this version has; the values of kept recordings fit into it."""
    found = np.zeros(len(records), schema.current().records[kind].dtype)
    for name in found.dtype.names or ():
        found[name] = records[name]
    return found
