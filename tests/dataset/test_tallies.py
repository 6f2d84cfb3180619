"""Counts and largest records are those of all rows at once, however few are read at a time."""

from pathlib import Path

import pytest

from sldtrace.dataset import tallies
from sldtrace.reporters.context import waited_ns
from tests.analyzers.synthetic import MS, Row, moved, trace, waited

MOVES = [moved(at * MS, at % 3, at % 2, by_tid=300 + at % 4, tid=1 + at % 2) for at in range(50)]


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(tallies, "BATCH", batch)
    recorded = trace(tmp_path, more={"migrate": MOVES})
    for names in (("tgid", "tid"), ("tgid", "tid", "by_tgid", "by_tid"), ("to_cpu",)):
        counted = recorded.migrations.groupby([*names], sort=False, as_index=False).size()
        expected = counted.sort_values("size", ascending=False, kind="stable")
        found = tallies.value_counts(recorded, "migrate", *names)
        assert found.rename(columns={"count": "size"}).to_dict("records") == expected.to_dict("records")


def test_the_rarest_are_left_out_where_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, "MOST", 1)
    moves = [moved(MS, 0, 1), moved(2 * MS, 0, 1), moved(3 * MS, 0, 2)]
    found = tallies.value_counts(trace(tmp_path, more={"migrate": moves}), "migrate", "to_cpu")
    assert found.to_dict("records") == [{"to_cpu": 1, "count": 2}]


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_the_largest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(tallies, "BATCH", batch)
    stalls: list[Row] = [waited(at * MS, at * 7 % 5 * MS + 1) for at in range(30)]
    recorded = trace(tmp_path, more={"stall": stalls})
    expected = recorded.stalls.sort_values("waited_ns", ascending=False, kind="stable").head(9)
    found = tallies.largest(recorded, "stall", waited_ns, 9)
    assert found.astype(str).to_dict("records") == expected.astype(str).to_dict("records")
    assert len(tallies.largest(trace(tmp_path), "stall", waited_ns, 9)) == 0


def test_no_records(tmp_path: Path) -> None:
    recorded = trace(tmp_path)
    assert tallies.value_counts(recorded, "migrate", "tid").to_dict("records") == []
    assert tallies.user_exits(recorded).to_dict("records") == []
