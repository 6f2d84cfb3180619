"""The frames: types, names, order, and wall time; the same on pandas 1.5 and 3."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sldtrace.dataset import frames
from sldtrace.errors import SldtraceError
from sldtrace.recording import schema
from sldtrace.recording.reader import Recording, open_recording
from sldtrace.recording.writer import Writer

KINDS = list(schema.current().records)
SECOND = 1_000_000_000
START = {"monotonic_ns": 100 * SECOND, "realtime_ns": 1_800_000_000 * SECOND}


def recorded(
    path: Path,
    facts: dict[str, Any] | None = None,
    closing: dict[str, Any] | None = None,
    updates: Iterable[dict[str, Any]] = (),
    **rows: list[dict[str, Any]],
) -> Recording:
    with Writer(path / "a.sld", facts or {}) as out:
        for kind, given in rows.items():
            records = np.zeros(len(given), schema.current().records[kind].dtype)
            for index, row in enumerate(given):
                for name, value in row.items():
                    records[name][index] = value
            out.append(kind, records)
        for each in updates:
            out.facts_update(each)
        out.close(closing or {})
    return open_recording(path / "a.sld")


def type_name(column: "pd.Series[Any]") -> str:
    name = str(column.dtype)
    return "text" if name in ("object", "str") else name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 3])
def test_columns_are_as_documented(tmp_path: Path, kind: str, count: int) -> None:
    records: dict[str, Any] = {kind: [{} for _ in range(count)]}
    with recorded(tmp_path, **records) as recording:
        frame = frames.frame(recording, kind)
    documented = frames.columns(kind)
    assert len(frame) == count
    assert list(frame.columns) == list(documented)
    assert {name: type_name(frame[name]) for name in frame} == {
        name: c.dtype for name, c in documented.items()
    }
    assert all(column.unit and column.meaning for column in documented.values())


@pytest.mark.parametrize("kind", KINDS)
def test_no_flag_takes_the_name_of_a_field(kind: str) -> None:
    record = schema.current().records[kind]
    enums = [schema.current().enums[field.enum] for field in record.fields if field.enum]
    flags = [name for each in enums if each.is_flags for name in each.values]
    elements = sum(field.dtype.shape[0] if field.is_array else 1 for field in record.fields)
    assert len(frames.columns(kind)) == elements + len(flags)


def test_an_array_is_a_column_for_each_element(tmp_path: Path) -> None:
    with recorded(tmp_path, counts=[{"host_log2": range(32)}, {"host_log2": range(100, 132)}]) as recording:
        frame = frames.frame(recording, "counts")
    assert "host_log2" not in frame
    assert frame["host_log2_0"].tolist() == [0, 100]
    assert frame["host_log2_31"].tolist() == [31, 131]


def test_values(tmp_path: Path) -> None:
    rows = [
        {"start_ns": 20, "end_ns": 15, "rip": 0xFFFF_FFFF_8000_0000, "vcpu": -1, "flags": 1 | 4 | 256},
        {
            "start_ns": 10,
            "end_ns": 30,
            "rip": 0x7C00,
            "vcpu": 2,
            "flags": 16,
            "signal_code": -2,
            "tid": 1 << 31,
        },
    ]
    with recorded(tmp_path, trap=rows) as recording:
        frame = frames.frame(recording, "trap")
    assert frame["start_ns"].tolist() == [10, 20]
    assert (frame["end_ns"] - frame["start_ns"]).tolist() == [20, -5]
    assert frame["rip"].tolist() == [0x7C00, 0xFFFF_FFFF_8000_0000]
    assert frame["vcpu"].isna().tolist() == [False, True]
    assert frame["vcpu"][0] == 2
    assert frame["guest"].tolist() == [False, True]
    assert frame["slept"].tolist() == [False, True]
    assert frame["signal_group"].tolist() == [False, True]
    assert frame["msr_cleared"].tolist() == [True, False]
    assert frame["flags"].tolist() == [16, 261]
    assert frame["signal_code"].tolist() == [-2, 0]
    assert frame["tid"].tolist() == [1 << 31, 0]
    frame.loc[0, "tid"] = 5
    assert frame["tid"].tolist() == [5, 0]


def test_names_are_safe_to_print_and_enumerations_are_names(tmp_path: Path) -> None:
    tasks = [
        {"ns": 1, "comm": b"CPU 0/KVM"},
        {"ns": 2, "comm": b"\x1b[31m\0rest"},
        {"ns": 3, "comm": b"CPU 0/KVM"},
    ]
    losses = [{"ns": 2, "kind": 1, "cause": 3, "count": 7}, {"ns": 1, "kind": 77, "cause": 1}]
    with recorded(tmp_path, task=tasks, lost=losses) as recording:
        task, lost = frames.frame(recording, "task"), frames.frame(recording, "lost")
    assert task["comm"].tolist() == ["CPU 0/KVM", "\\x1b[31m", "CPU 0/KVM"]
    assert lost["kind"].tolist() == ["unknown-77", "trap"]
    assert lost["cause"].tolist() == ["ring_full", "unfinished"]
    assert lost.loc[lost["kind"] == "trap", "count"].sum() == 7


def test_an_unknown_kind_is_one_line(tmp_path: Path) -> None:
    with recorded(tmp_path) as recording, pytest.raises(SldtraceError, match="no record kind nothing"):
        frames.frame(recording, "nothing")
    with pytest.raises(SldtraceError, match="no record kind nothing; the kinds are: trap"):
        frames.columns("nothing")


def wall(recording: Recording, *times: int) -> list[int]:
    series = pd.Series(list(times), index=range(5, 5 + len(times)), dtype="int64", name="ns")
    result = frames.wall_clock(recording, series)
    assert str(result.dtype) == "datetime64[ns, UTC]"
    assert result.index.tolist() == series.index.tolist()
    return [stamp.value for stamp in result]


def test_wall_clock_from_one_pair_is_exact(tmp_path: Path) -> None:
    with recorded(tmp_path, {"clock": START}) as recording:
        assert wall(recording, 100 * SECOND, 50 * SECOND + 1) == [
            1_800_000_000 * SECOND,
            1_799_999_950 * SECOND + 1,
        ]


def test_wall_clock_follows_a_clock_that_is_slewed(tmp_path: Path) -> None:
    end = {"monotonic_ns": 200 * SECOND, "realtime_ns": 1_800_000_100 * SECOND + 1000}
    with recorded(tmp_path, {"clock": START}, {"clock": end}) as recording:
        start = 1_800_000_000 * SECOND
        assert wall(recording, 100 * SECOND, 150 * SECOND, 200 * SECOND, 300 * SECOND, 0) == [
            start,
            start + 50 * SECOND + 500,
            start + 100 * SECOND + 1000,
            start + 200 * SECOND + 1000,
            start - 100 * SECOND,
        ]


def test_wall_clock_follows_a_clock_that_is_set(tmp_path: Path) -> None:
    """An hour ahead at 120 s, back at 160 s; nonsense in between is passed over."""
    start, hour = 1_800_000_000 * SECOND, 3600 * SECOND
    steps = {str(120 * SECOND): start + 20 * SECOND, str(121 * SECOND): start + 21 * SECOND + hour}
    later = {str(160 * SECOND): start + 60 * SECOND + hour, str(161 * SECOND): start + 61 * SECOND, "x": 1}
    end = {"monotonic_ns": 200 * SECOND, "realtime_ns": start + 100 * SECOND}
    updates = [{"clock_steps": steps}, {"clock_steps": steps | later}]
    with recorded(tmp_path, {"clock": START}, {"clock": end}, updates) as recording:
        times = [110 * SECOND, 120 * SECOND, 121 * SECOND, 150 * SECOND, 170 * SECOND]
        ahead = [0, 0, hour, hour, 0]
        assert wall(recording, *times) == [
            start + time - 100 * SECOND + more for time, more in zip(times, ahead, strict=True)
        ]


@pytest.mark.parametrize("facts", [{}, {"clock": 5}, {"clock": {"monotonic_ns": "x", "realtime_ns": 1}}])
def test_wall_clock_without_a_pair_is_one_line(tmp_path: Path, facts: dict[str, Any]) -> None:
    with (
        recorded(tmp_path, facts) as recording,
        pytest.raises(SldtraceError, match="does not say what time it was"),
    ):
        wall(recording, 1)
