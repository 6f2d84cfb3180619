"""Slices follow each other in time, whatever the order in which records come."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine import slices
from sldtrace.engine.slices import Slicer
from sldtrace.recording.reader import open_recording
from sldtrace.recording.writer import Writer
from tests.analyzers.synthetic import FACTS, START_NS, array, early, signalled

KINDS = frozenset({"trap", "signal"})


def times(part: Any) -> dict[str, list[int]]:
    return {kind: records["start_ns" if kind == "trap" else "ns"].tolist() for kind, records in part.items()}


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=20), min_size=1, max_size=12))
def test_slices_of_a_file_follow_each_other_and_hold_all(chunks: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE", 10)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.sld"
            with Writer(path, FACTS, recording_id=1) as writer:
                for number, chunk in enumerate(chunks):
                    kind = "signal" if number % 3 else "trap"
                    made = [signalled(at) if number % 3 else early(at) for at in chunk]
                    writer.append(kind, array(kind, made))
                    writer.flush()
                writer.close({})
            with open_recording(path) as recording:
                found = [times(each) for each in slices.slices(recording, KINDS)]
    every = [moment - START_NS for each in found for part in each.values() for moment in part]
    assert sorted(every) == sorted(moment for chunk in chunks for moment in chunk)
    last = 0
    for each in found:
        assert min(min(part) for part in each.values()) >= last
        last = max(max(part) for part in each.values())


def test_records_of_a_kind_are_in_order_and_traps_as_they_came() -> None:
    slicer = Slicer()
    slicer.add("signal", array("signal", [signalled(30), signalled(10)]))
    slicer.add("trap", array("trap", [early(20), early(10), early(40)]))
    found = times(slicer.take(START_NS + 40))
    assert found == {"signal": [START_NS + 10, START_NS + 30], "trap": [START_NS + 20, START_NS + 10]}
    assert slicer.count == 1
    assert times(slicer.take(None)) == {"trap": [START_NS + 40]}
    assert slicer.take(None) == {}


def test_a_trap_that_lasts_very_long_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE", 10)
    monkeypatch.setattr(slices, "MOST_WAITING", 100)
    with Writer(tmp_path / "a.sld", FACTS, recording_id=1) as writer:
        for start in range(0, 1000, 20):
            writer.append("trap", array("trap", [early(10 + at) for at in range(start, start + 20)]))
            writer.flush()
        writer.append("trap", array("trap", [early(0, tid=7)]))
        writer.close({})
    with open_recording(tmp_path / "a.sld") as recording:
        found = [len(each["trap"]) for each in slices.slices(recording, KINDS)]
    assert sum(found) == 1001
    assert 100 < max(found) <= 120


def test_no_records(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.sld", FACTS, recording_id=1) as writer:
        writer.close({})
    with open_recording(tmp_path / "a.sld") as recording:
        assert list(slices.slices(recording, KINDS)) == []
