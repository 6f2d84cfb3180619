"""A recording between two times: its records, sums and facts, and what analyzers find in it."""

from pathlib import Path

import pytest

from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.accounts import account, incomplete
from sldtrace.dataset.between import Between
from sldtrace.dataset.trace import Trace
from sldtrace.errors import SldtraceError
from sldtrace.recording import collect
from tests.analyzers.synthetic import (
    MS,
    SPAN_NS,
    START_NS,
    VCPU,
    WALL_NS,
    closing,
    completed,
    facts,
    loop,
    task,
    trace,
)
from tests.recording.rotated import rotate

ROWS = [*loop(500), *(completed((1000 + n * 100) * MS) for n in range(20))]


def part(recorded: Trace, since_ms: int | None, until_ms: int | None) -> Trace | None:
    limits = (None if each is None else WALL_NS + each * MS for each in (since_ms, until_ms))
    found = Between(*limits).part(recorded.recording)
    return None if found is None else Trace(found)


def test_the_records_of_that_time_are_left(tmp_path: Path) -> None:
    lost = [{"ns": START_NS + at * MS, "cpu": 0, "kind": 1, "cause": 1, "count": 5} for at in (100, 1500)]
    recorded = trace(tmp_path, ROWS, lost=lost, tasks=[task(VCPU, b"CPU 0/KVM")], ended=closing(530))
    found = part(recorded, 50, 150)
    assert found is not None
    assert found.span_ns == (START_NS + 50 * MS, START_NS + 150 * MS)
    times = found.recording.records("trap")["start_ns"]
    assert (times.min(), times.max()) == (START_NS + 50 * MS, START_NS + 149 * MS)
    assert found.recording.counts["trap"] == len(times) == 100
    assert [loss.count for loss in found.recording.losses] == [5]
    assert account(found, "trap").counted is None
    assert found.wall_ns(START_NS + 60 * MS) == WALL_NS + 60 * MS
    assert found.subject(200, VCPU, None).thread == "CPU 0/KVM"


def test_findings_are_those_of_that_time(tmp_path: Path) -> None:
    recorded = trace(tmp_path, ROWS)
    early, late = part(recorded, None, 500), part(recorded, 900, None)
    assert early is not None
    assert late is not None
    assert [each.verdict for each in catalogue.run(early)] == ["livelock"]
    assert [each.verdict for each in catalogue.run(late)] == ["slowed"]
    assert not incomplete(early)
    assert late.span_ns[1] == START_NS + SPAN_NS + 1


def test_all_of_the_time_is_the_recording_itself(tmp_path: Path) -> None:
    recorded = trace(tmp_path, ROWS)
    assert Between().part(recorded.recording) is recorded.recording
    assert Between(WALL_NS - MS, WALL_NS + SPAN_NS + MS).part(recorded.recording) is recorded.recording


@pytest.mark.parametrize(("since_ms", "until_ms"), [(SPAN_NS // MS + 1, None), (None, 0), (-500, -100)])
def test_a_time_without_a_recording_is_nothing(tmp_path: Path, since_ms: int, until_ms: int) -> None:
    assert part(trace(tmp_path, ROWS), since_ms, until_ms) is None


def test_without_a_clock_the_time_is_not_known(tmp_path: Path) -> None:
    opening = facts()
    del opening["clock"]
    with pytest.raises(SldtraceError, match="does not say what time it was"):
        part(trace(tmp_path, ROWS, opening=opening, ended={}), 0, None)


def test_of_several_files_those_of_that_time_are_read(tmp_path: Path) -> None:
    whole = trace(tmp_path, ROWS)
    cuts = [START_NS + at * MS for at in (200, 400, 1250)]
    files = rotate(whole.recording, tmp_path / "rotated.sld", cuts)
    with collect.open_all(files) as collection:
        (timeline,) = collection.timelines
        found = part(Trace(timeline), 50, 150)
        assert found is not None
        assert found.recording.counts["trap"] == 100
        assert 1 <= len(found.recording.parts) < len(timeline.parts)
