"""Records in slices that are cut at any time, as summaries get them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sldtrace.engine.columns import Columns
from sldtrace.engine.fold import Fold, Summary
from sldtrace.recording import schema
from tests.analyzers.synthetic import START_NS, Row, array


def fold(summary: Summary, rows: Mapping[str, Sequence[Row]], cuts: Sequence[int] = ()) -> Fold:
    """Brings the records to the summary in slices that end at these times (ns after START_NS)."""
    found = Fold([summary])
    for each in _parts(rows, cuts):
        found.update(each)
    return found


def _parts(rows: Mapping[str, Sequence[Row]], cuts: Sequence[int]) -> Iterator[dict[str, Columns]]:
    begin = 0
    whole = {kind: _in_order(kind, given) for kind, given in rows.items()}
    for cut in (*sorted(set(cuts)), None):
        end = np.iinfo(np.int64).max if cut is None else START_NS + cut
        found = {}
        for kind, records in whole.items():
            times = records[schema.current().records[kind].time_field].astype(np.int64)
            mine = records[(times >= begin) & (times < end)]
            if len(mine):
                found[kind] = Columns(mine)
        if found:
            yield found
        begin = end


def _in_order(kind: str, rows: Sequence[Row]) -> np.ndarray:
    records = array(kind, rows)
    return records[np.argsort(records[schema.current().records[kind].time_field], kind="stable")]
