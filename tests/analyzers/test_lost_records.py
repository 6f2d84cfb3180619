"""Lost records of a time and a thread, against a plain walk over all of them."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sldtrace.analyzers import lost_records
from sldtrace.analyzers.lost_records import READ_NS
from sldtrace.dataset.trace import load
from sldtrace.recording import schema
from tests.analyzers.synthetic import loop, write

KINDS = ("trap", "signal")
TIDS = (0, 7, 8)
START = 100 * READ_NS

moments = st.integers(START, START + 5 * READ_NS)
losses = st.fixed_dictionaries(
    {
        "ns": moments,
        "since_ns": st.just(0) | moments,
        "count": st.integers(1, 1000),
        "kind": st.sampled_from([schema.current().records[kind].number for kind in KINDS]),
        "tid": st.sampled_from(TIDS),
    }
).map(lambda loss: loss | {"since_ns": min(loss["since_ns"], loss["ns"])})


@given(
    st.lists(losses, max_size=12),
    st.lists(st.tuples(st.sampled_from(KINDS), moments, moments, st.sampled_from(TIDS)), max_size=6),
)
def test_those_that_overlap_the_time_and_may_be_of_the_thread(
    lost: list[dict[str, Any]], asked: list[tuple[str, int, int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trace = load(write(Path(folder) / "a.sld", loop(3), lost=lost))
        for kind, one, other, tid in asked:
            start, end = sorted((one, other))
            expected = sum(
                loss["count"]
                for loss in lost
                if loss["kind"] == schema.current().records[kind].number
                and loss["tid"] in (0, tid)
                and (loss["since_ns"] or loss["ns"] - READ_NS) <= end
                and loss["ns"] >= start
            )
            assert lost_records.count(trace, kind, start, end, tid) == expected
