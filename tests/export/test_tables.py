"""Tables: every record, with the columns of the DataFrames, in every form; nothing is lost on the way."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sldtrace.dataset import trace as traces
from sldtrace.dataset.trace import Trace
from sldtrace.export import parquet, tables, text_tables
from tests.analyzers.synthetic import facts, loop, write
from tests.reporters.cases import detail, kept_file

KINDS = ("trap", "task", "counts", "exit", "user_exit", "migrate", "stall", "detail", "lost")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return detail(tmp_path_factory.mktemp("recorded"))


def expected(trace: Trace, kind: str) -> pd.DataFrame:
    """The DataFrame of the API, whose names are texts."""
    frame = trace.rows(kind).frame()
    return frame.astype({name: str for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)})


def values(column: "pd.Series[Any]") -> list[Any]:
    """None where there is none."""
    return [None if pd.isna(each) else each for each in column.tolist()]


def test_parquet_has_every_value_in_its_type(recorded: Trace, tmp_path: Path) -> None:
    parquet.write(recorded, tmp_path)
    assert {path.stem for path in tmp_path.glob("*.parquet")} == set(KINDS)
    for kind in KINDS:
        found = pd.read_parquet(tmp_path / f"{kind}.parquet")
        wanted = expected(recorded, kind)
        pd.testing.assert_frame_equal(found.drop(columns="time"), wanted, check_dtype=False)
        first = wanted.columns[0]
        assert found["time"].iloc[0].value == recorded.wall_ns(int(wanted[first].iloc[0]))


def test_a_parquet_column_says_what_it_is(recorded: Trace, tmp_path: Path) -> None:
    parquet.write(recorded, tmp_path, ["trap"])
    schema = pq.read_schema(tmp_path / "trap.parquet")
    assert schema.field("rip").type == "uint64"
    assert str(schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert schema.field("sleep_ns").metadata[b"unit"] == b"ns"
    assert json.loads(schema.metadata[b"sldtrace"])["facts"] == recorded.facts


def test_csv_has_every_value(recorded: Trace, tmp_path: Path) -> None:
    text_tables.write_csv(recorded, tmp_path)
    for kind in KINDS:
        found = pd.read_csv(tmp_path / f"{kind}.csv", keep_default_na=False, na_values=[""])
        wanted = expected(recorded, kind)
        assert list(found.columns) == ["time", *wanted.columns]
        for name in wanted:
            assert values(found[name]) == values(wanted[name]), (kind, name)


def test_json_lines_have_every_record(recorded: Trace, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        text_tables.write_json_lines(recorded, file)
    first, *rest = map(json.loads, (tmp_path / "out").read_text().splitlines())
    assert first["record"] == "recording"
    assert first["facts"] == recorded.facts
    assert first["columns"]["trap"]["rip"]["unit"] == "address"
    for kind in KINDS:
        wanted = expected(recorded, kind)
        found = [each for each in rest if each["record"] == kind]
        assert len(found) == len(wanted) == recorded.recording.counts[kind]
        for name in wanted:
            assert [each[name] for each in found] == values(wanted[name]), (kind, name)


def test_without_a_clock_the_times_are_empty(tmp_path: Path) -> None:
    trace = traces.load(write(tmp_path / "a.sld", loop(3), opening=facts(clock=None), ended={}))
    (table,) = tables.parts(trace, "trap")
    assert table["time"].isna().all()
    assert str(table["time"].dtype) == tables.columns("trap")["time"].dtype
    text_tables.write_csv(trace, tmp_path)
    assert (tmp_path / "trap.csv").read_text().splitlines()[1].startswith(",")


def test_parts_join_to_the_whole(recorded: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BATCH", 100)
    parts = list(tables.parts(recorded, "trap"))
    assert max(map(len, parts)) <= 100
    assert len(parts) > 10
    found = pd.concat(parts, ignore_index=True).drop(columns="time")
    pd.testing.assert_frame_equal(found, expected(recorded, "trap"), check_dtype=False)


def test_only_the_wanted_kinds_are_written_and_the_rest_is_named(recorded: Trace, tmp_path: Path) -> None:
    text_tables.write_csv(recorded, tmp_path, ["trap"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recording.json", "trap.csv"]
    content = json.loads((tmp_path / "recording.json").read_text())
    assert content["records"] == {"trap": recorded.recording.counts["trap"]}
    assert content["left_out"]["user_exit"] == recorded.recording.counts["user_exit"]


def test_parquet_is_at_most_a_third_of_the_csv(tmp_path: Path) -> None:
    recorded = kept_file("lab-early-return-loop", tmp_path)
    (tmp_path / "csv").mkdir()
    (tmp_path / "parquet").mkdir()
    text_tables.write_csv(recorded, tmp_path / "csv", ["trap"])
    parquet.write(recorded, tmp_path / "parquet", ["trap"])
    csv, binary = (next((tmp_path / each).glob("trap.*")).stat().st_size for each in ("csv", "parquet"))
    assert 3 * binary <= csv
