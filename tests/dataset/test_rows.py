"""Rows: held in few bytes, given out as documented; read in several batches they are what they are in one."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sldtrace.dataset import frames, rows
from sldtrace.dataset import trace as traces
from sldtrace.engine import slices
from sldtrace.recording import schema
from sldtrace.recording.reader import open_recording
from sldtrace.recording.writer import Writer
from tests.analyzers.simulated import simulated
from tests.analyzers.synthetic import MS, RIP, VCPU, VMM, completed, early, exited, loop, trace
from tests.reporters import cases, rendering

KINDS = list(schema.current().records)


def random_records(kind: str, count: int, seed: int) -> np.ndarray:
    """Any bytes at all, in any order of time."""
    random = np.random.default_rng(seed)
    records = np.zeros(count, schema.current().records[kind].dtype)
    for name in records.dtype.names or ():
        # Of all sizes: what is narrow in one batch is wide in another.
        raw = random.bytes(records[name].nbytes)
        values = np.frombuffer(raw, records[name].dtype.base).reshape(records[name].shape)
        shift = 8 * random.integers(0, records[name].dtype.base.itemsize)
        records[name] = values if values.dtype.kind == "S" else values >> values.dtype.type(shift)
    return records


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_the_records(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they hold, and however they lie in the file."""
    monkeypatch.setattr(rows, "BATCH", 50)
    with Writer(tmp_path / "a.sld", {}) as writer:
        for part in range(8):
            writer.append(kind, random_records(kind, 40, part))
            writer.flush()
        writer.close({})
    with open_recording(tmp_path / "a.sld") as recording:
        made = rows.read(recording, kind)
        found, expected = made.frame(), frames.frame(recording, kind)
        plain = made.plain()
    # What comes at the same time comes in any order.
    by = [name for name in expected.columns if not isinstance(expected[name].dtype, pd.CategoricalDtype)]
    pd.testing.assert_frame_equal(
        found.sort_values(by, ignore_index=True),
        expected.sort_values(by, ignore_index=True),
        check_categorical=False,
    )
    assert found.iloc[:, 0].is_monotonic_increasing
    assert plain == {
        name: found[name].astype(object).where(found[name].notna(), None).tolist() for name in found
    }


@pytest.mark.parametrize(
    "name", ["livelock", "bystanders", "detail", "phases", "locks", "migration", "queue"]
)
def test_reports_of_small_batches_are_those_of_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BATCH", 16)
    monkeypatch.setattr(slices, "SLICE", 7)
    for file, text in cases.kept(name).items():
        assert text == (cases.DATA / file).read_text(encoding="utf-8")


def test_many_chunks_are_one_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200,000 records: the same report whether they are read and looked at in one go or in a hundred."""
    recorded = simulated(tmp_path, "--timer", "1ms", "--vcpus", "8", "--cpus", "4", "-d", "25s")
    assert len(recorded.rows("trap")) > 150_000
    whole = rendering.text(recorded), rendering.parsed(recorded)
    monkeypatch.setattr(rows, "BATCH", 2_000)
    monkeypatch.setattr(slices, "SLICE", 1_777)
    again = traces.load(recorded.recording.path)
    assert (rendering.text(again), rendering.parsed(again)) == whole


def test_selections(tmp_path: Path) -> None:
    other = RIP + 16
    given = [*loop(4), early(10 * MS, tid=7, rip=other), early(11 * MS, rip=other), completed(12 * MS, tid=7)]
    found = trace(tmp_path, given).rows("trap")
    assert len(found) == 7
    assert list(found.threads) == [(VMM, VCPU), (VMM, 7)]
    assert found.thread(VMM, 7)["rip"].tolist() == [other, RIP]
    assert found.thread(VMM, 99).empty
    assert found.tid(99).empty
    assert found.tid(7)["detection_off"].tolist() == [False, True]
    assert [(key, len(part)) for key, part in found.groupby("rip", "early_return")] == [
        ((RIP, 1), 4),
        ((other, 1), 2),
        ((RIP, 0), 1),
    ]
    late = found[found["start_ns"] > found["start_ns"][3]]
    assert late["tid"].tolist() == [7, VCPU, 7]
    assert found.isin([late]).tolist() == [False] * 4 + [True] * 3
    assert late.isin([found.tid(7)]).tolist() == [True, False, True]
    made = late.assign(number=np.array([3, 1, 2]))
    assert made.frame()[["tid", "number"]].to_numpy().tolist() == [[7, 3], [VCPU, 1], [7, 2]]
    assert made[made["number"] > 1].drop("number").columns == found.columns
    assert found.head_tail(2, 1).plain()["start_ns"] == found["start_ns"].iloc[[0, 1, 6]].tolist()
    assert len(found.head_tail(4, 3)) == 7
    with pytest.raises(IndexError, match="a mask of 7 for 3 rows"):
        late[found["early_return"]]


def test_nothing_recorded_is_no_rows(tmp_path: Path) -> None:
    found = trace(tmp_path).rows("exit")
    assert found.empty
    assert not found.threads
    assert list(found.frame().columns) == list(trace(tmp_path, more={"exit": [exited(0)]}).exits.columns)


_PEAK = """
import re, sys
from pathlib import Path
from sldtrace.commands.report import build
from sldtrace.reporters.formats import FORMATS
from sldtrace.reporters.style import Style
FORMATS["json"].render(build(Path(sys.argv[1])).content, Style())
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def peak_bytes(path: Path) -> int:
    """The largest resident size of a process that makes the report; not ru_maxrss, which execve keeps."""
    command = [sys.executable, "-c", _PEAK, str(path)]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    return 1024 * int(re.findall(r"\d+", done.stdout)[-1])


def repeated(path: Path, recorded: Any, times: int) -> int:
    """The records of a recording over and over, with their times moved on; how many."""
    step = np.uint64(recorded.span_ns[1] - recorded.span_ns[0])
    with Writer(path, recorded.facts, force=True) as writer:
        for turn in range(times):
            for kind in ("trap", "exit"):
                more = recorded.recording.records(kind).copy()
                for name in {"ns", "start_ns", "end_ns", "signal_ns"} & set(more.dtype.names):
                    more[name] += np.uint64(turn) * step
                writer.append(kind, more)
        writer.flush()
        count = sum(writer.written.values())
        writer.close({})
    return count


def test_ten_million_records_fit_into_memory(tmp_path: Path) -> None:
    """By what 200,000 records take more than 50,000: a row of a DataFrame would need 190 bytes and copies."""
    recorded = simulated(tmp_path, "--timer", "1ms", "--exits", "-d", "10s")
    few = repeated(tmp_path / "few.sld", recorded, 2)
    many = repeated(tmp_path / "many.sld", recorded, 10)
    small, large = peak_bytes(tmp_path / "few.sld"), peak_bytes(tmp_path / "many.sld")
    assert many - few > 150_000
    assert large + (large - small) / (many - few) * (10_000_000 - many) < 1_500_000_000


@pytest.mark.parametrize("found", [0, 2, 7])
def test_rows_that_are_fewer_or_more_when_they_are_read_are_shown_as_they_are(
    found: int, tmp_path: Path
) -> None:
    """In a forged file the analysis may have counted others."""
    read = trace(tmp_path, [completed(number * MS) for number in range(found)]).rows("trap")
    none = read.take(np.arange(0))
    assert len(rows.Rows.deferred(5, lambda: read, lambda: none).head_tail(2, 2)) == min(found, 4)


def test_records_of_any_time_are_selected_by_it(tmp_path: Path) -> None:
    """Times are signed in the columns, and unsigned in the file."""
    times = [1 << 30, (1 << 63) - 1, 1 << 63, (1 << 64) - (1 << 40)]
    read = trace(tmp_path, [completed(0) | {"start_ns": time, "end_ns": time} for time in times])
    for time in times:
        wanted = np.uint64(time)
        signed = int(wanted.view(np.int64))
        found = read.select("trap", lambda traps, wanted=wanted: traps["start_ns"] == wanted, [signed])  # type: ignore[misc]
        assert len(found) == 1


@pytest.mark.parametrize("largest", [255, 256, 65535, 65536, (1 << 32) - 1, 1 << 32, (1 << 64) - 1])
def test_a_narrow_column_holds_its_largest_value(largest: int, tmp_path: Path) -> None:
    read = trace(tmp_path, [completed(0, guest_ns=largest)]).rows("trap")
    assert read.raw("guest_ns").tolist() == [largest]
