"""Sums of counted VM exits, however the records are cut."""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine.count_sums import CountSums
from tests.analyzers.synthetic import MS, START_NS, Row, counted
from tests.engine.sliced import fold

counts = st.lists(
    st.builds(
        lambda at, tid, reason, vector, isa, count, vcpu: counted(
            reason,
            count,
            {count % 32: count},
            ns=START_NS + at * MS,
            since_ns=START_NS + (at - 10) * MS,
            tid=tid,
            vector=vector,
            isa=isa,
            vcpu=vcpu,
        ),
        st.integers(0, 100),
        st.integers(1, 2),
        st.sampled_from([0, 74, (1 << 32) - 1]),
        st.sampled_from([-1, 17]),
        st.integers(1, 2),
        st.integers(1, 100),
        st.integers(-1, 1),
    ),
    max_size=30,
)
cuts = st.lists(st.integers(0, 101).map(lambda ms: ms * MS), max_size=5)
KEY = ("tgid", "tid", "isa", "reason", "vector")


@settings(deadline=None, max_examples=60)
@given(counts, cuts)
def test_however_the_records_are_cut(rows: list[Row], cuts: list[int]) -> None:
    summary = CountSums()
    fold(summary, {"counts": rows}, cuts)
    expected: dict[tuple[int, ...], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["ns"]):
        expected[tuple(row[name] for name in KEY)].append(row)
    assert [tuple(row[name] for name in KEY) for row in summary.rows] == list(expected)
    for mine, row in zip(expected.values(), summary.rows, strict=True):
        for name in ("count", "guest_ns", "host_ns"):
            assert row[name] == sum(each[name] for each in mine)
        assert row["host_log2"].tolist() == [
            sum(entry) for entry in zip(*(each["host_log2"] for each in mine), strict=True)
        ]
        assert (row["since_ns"], row["ns"]) == (mine[0]["since_ns"], mine[-1]["ns"])
        assert row["vcpu"] == mine[-1]["vcpu"]


def test_what_there_is_no_room_for_is_left_out() -> None:
    summary = CountSums(most=2)
    fold(summary, {"counts": [counted(reason, 1, {}) for reason in (1, 2, 3, 1)]})
    assert summary.rows["count"].tolist() == [2, 1]
    assert summary.left_out == 1
