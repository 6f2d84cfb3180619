"""Files of --rotate that are read as one recording: what is in it, and where nothing was recorded."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset import levels
from sldtrace.dataset.trace import Trace
from sldtrace.engine import slices
from sldtrace.recording import collect, schema
from sldtrace.recording.discarded import Discarded
from sldtrace.recording.joined import JoinedRecording
from sldtrace.recording.timeline import Timeline
from tests.analyzers.synthetic import (
    CLOSED_NS,
    FLAGS,
    MS,
    START_NS,
    closing,
    completed,
    early,
    facts,
    loop,
    step,
    task,
    trace,
    write,
)
from tests.recording.rotated import rotate
from tests.reporters import cases, rendering

WATCHED = FLAGS["MSR_WATCHED"] | FLAGS["EXITS_WATCHED"]


def joined(files: list[Path]) -> Timeline:
    (timeline,) = collect.open_all(files).timelines
    return timeline


def cuts(recorded: Trace, count: int) -> list[int]:
    """Times that divide the traps into so many parts."""
    ends = np.sort(recorded.rows("trap")["end_ns"].to_numpy())
    return [int(ends[len(ends) * place // count]) for place in range(1, count)]


def comparable(recorded: Trace) -> dict[str, Any]:
    """The report without what is about files."""
    content = rendering.parsed(recorded)
    about = content["recording"]
    for name in ("files", "facts", "closing"):
        del about[name]
    about["counts"] = {kind: count for kind, count in about["counts"].items() if count}
    about["accounts"] = about["accounts"][:1]  # those of other kinds are not known of several files
    return content


# Cuts in the middle of loops, of windows with detection off, of queues.
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("livelock", 8),
        ("phases", 3),
        ("locks", 3),
        ("storm", 4),
        ("semaphore", 2),
        ("left-off", 3),
        ("lab-early-return-loop", 5),
        ("lab-toggle-storm", 8),
        ("lab-semaphore-early-return", 2),
        ("lab-real-time", 3),
    ],
)
def test_the_report_is_that_of_the_recording_in_one_file(name: str, parts: int, tmp_path: Path) -> None:
    whole = cases.CASES[name](tmp_path)
    (tmp_path / "rotated").mkdir()
    files = rotate(whole.recording, tmp_path / "rotated/host.sld", cuts(whole, parts))
    again = Trace(joined(files))
    assert again.recording.warnings == whole.recording.warnings
    assert comparable(again) == comparable(whole)


def test_a_livelock_over_a_rotation_is_one_livelock(tmp_path: Path) -> None:
    whole = trace(tmp_path, loop(2000))
    files = rotate(whole.recording, tmp_path / "host.sld", cuts(whole, 3))
    found = catalogue.run(Trace(joined(files)))
    assert [(each.verdict, each.numbers.loops, each.numbers.traps) for each in found] == [
        ("livelock", 1, 2000)
    ]
    assert found == catalogue.run(whole)
    assert [catalogue.run(Trace(joined([file])))[0].numbers.traps for file in files] == [667, 667, 666]


def test_records_names_and_accounts_are_those_of_all_files(tmp_path: Path) -> None:
    rows = loop(900)
    detail = [step(0, "TRAPS", "TRAPS", "START"), step(1 * MS, "COUNTS", "TRAPS", "TRAP")]
    lost = [{"ns": START_NS + 400 * MS, "count": 7, "kind": 1, "cause": 1, "cpu": 0}]
    whole = trace(
        tmp_path,
        rows,
        tasks=[task(201, b"CPU 0/KVM")],
        more={"detail": detail},
        lost=lost,
        ended=closing(907),
    )
    files = rotate(whole.recording, tmp_path / "host.sld", cuts(whole, 3))
    timeline = joined(files)
    assert isinstance(timeline, JoinedRecording)
    for kind in schema.current().records:
        assert timeline.records(kind).tobytes() == whole.recording.records(kind).tobytes(), kind
        batches = [each.copy() for each in timeline.batches(kind, 10)]
        assert sum(map(len, batches)) == timeline.counts[kind] == len(whole.recording.records(kind)), kind
    assert timeline.losses == whole.recording.losses
    assert timeline.span_ns == whole.recording.span_ns
    assert [(part.name, part.traps) for part in timeline.parts] == [
        (f"host.000{number}.sld", 300 + (number == 1) - (number == 3)) for number in (1, 2, 3)
    ]
    assert timeline.closed
    account = rendering.parsed(Trace(timeline))["recording"]["accounts"]
    assert account == [
        {"kind": "trap", "counted": 907, "recorded": 900, "lost": 7, "unfinished": 0, "filtered": 0}
        | {"discarded": 0, "missing": 0}
    ]
    assert "Read as one: 3 files, host.0001.sld to host.0003.sld" in rendering.text(Trace(timeline))
    timeline.close()
    with pytest.raises(ValueError, match="closed file"):
        timeline.recordings[0].records("trap")


def test_a_file_that_is_missing_is_a_gap(tmp_path: Path) -> None:
    whole = trace(tmp_path, loop(4000), more={"detail": [step(0, "COUNTS", "TRAPS", "TRAP")]})
    files = rotate(whole.recording, tmp_path / "host.sld", cuts(whole, 4))
    del files[1]
    timeline = joined(files)
    recorded = Trace(timeline)
    start, end = cuts(whole, 4)[:2]
    assert [(gap.start_ns, gap.end_ns, gap.missing) for gap in timeline.gaps] == [(start, end, 1)]
    assert timeline.warnings == [
        "1 s between host.0001.sld and host.0003.sld were not recorded: 1 file missing"
    ]
    # Before and after, not in between: the loop is two loops.
    (finding, *_) = catalogue.run(recorded)
    assert (finding.numbers.loops, finding.numbers.longest_ns < 2050 * MS) == (2, True)
    # The flags of the traps after the gap are as they were, but for the first one.
    flags = timeline.records("trap")["flags"] & WATCHED
    assert np.flatnonzero(flags != WATCHED).tolist() == [1001]
    # Neither was anything else watched.
    assert levels.watched(recorded) == [(START_NS, start), (end, recorded.span_ns[1])]
    account = rendering.parsed(recorded)["recording"]["accounts"][0]
    assert (account["recorded"], account["missing"]) == (3000, 1000)
    text = rendering.text(recorded)
    assert "1,000 missing from these files" in " ".join(text.split())
    assert rendering.parsed(recorded)["recording"]["gaps"] == [
        {"start_ns": start, "end_ns": end, "missing": 1}
    ]


@pytest.mark.parametrize("pause", [1, 3_600_000])
def test_a_restart_of_the_recorder_ends_a_chain(pause: int, tmp_path: Path) -> None:
    """One millisecond without a recorder is less than a penalty: it cannot hide one."""
    first = begun(tmp_path / "a.sld", loop(1000), ended=ended(1000 * MS, 1000))
    second = restarted(tmp_path / "b.sld", (1000 + pause) * MS, loop(1000, at_ns=(1000 + pause) * MS))
    timeline = joined([second, first])
    assert [part.name for part in timeline.parts] == ["a.sld", "b.sld"]
    (finding, *_) = catalogue.run(Trace(timeline))
    assert finding.numbers.loops == (1 if pause == 1 else 2)
    assert finding.numbers.traps == 2000
    (warning,) = timeline.warnings
    assert warning.endswith("between a.sld and b.sld were not recorded")
    assert rendering.parsed(Trace(timeline))["recording"]["accounts"][0]["counted"] == 2000


def test_each_thread_loses_its_flags_once(tmp_path: Path) -> None:
    first = begun(tmp_path / "a.sld", loop(10), ended=ended(10 * MS, 10))
    rows = [early(at * MS, tid=201 + at % 3) for at in range(2000, 2030)]
    rows += [completed(2100 * MS, tid=201 + at) for at in range(5)]
    timeline = joined([first, restarted(tmp_path / "b.sld", 2000 * MS, rows)])
    traps = timeline.records("trap")
    unwatched = traps[(traps["flags"] & WATCHED) == 0]
    assert sorted(unwatched["tid"]) == [201, 202, 203, 204, 205]
    # So does what is read again, for evidence.
    times = [int(at) for at in unwatched["start_ns"]]
    again = Trace(timeline).select("trap", lambda records: np.isin(records["start_ns"], times), times)
    same = traps[np.isin(traps["start_ns"], times)]
    assert again["msr_watched"].tolist() == ((same["flags"] & FLAGS["MSR_WATCHED"]) != 0).tolist()
    assert sorted(unwatched["start_ns"])[:3] == [START_NS + at * MS for at in (2000, 2001, 2002)]
    batches = np.concatenate([each.copy() for each in timeline.batches("trap", 3)])
    assert batches.tobytes() == traps.tobytes()


def test_a_recording_without_an_end_leaves_the_sum_open(tmp_path: Path) -> None:
    first = begun(tmp_path / "a.sld", loop(10), close=False)
    timeline = joined([first, restarted(tmp_path / "b.sld", 2000 * MS, loop(10, at_ns=2001 * MS))])
    assert not timeline.closed
    assert "seen" not in (timeline.closing or {})
    assert rendering.parsed(Trace(timeline))["recording"]["accounts"][0]["counted"] is None
    assert "more may be missing" in rendering.text(Trace(timeline))
    assert [line.partition(":")[0] for line in timeline.warnings][1:] == ["a.sld"]


def test_the_wall_clock_of_each_file_counts(tmp_path: Path) -> None:
    first = begun(tmp_path / "a.sld", loop(10), ended=ended(10 * MS, 10))
    second = restarted(tmp_path / "b.sld", 2000 * MS, loop(10, at_ns=2000 * MS), late_ns=500 * MS)
    recorded = Trace(joined([first, second]))
    begin = recorded.wall_ns(START_NS)
    assert begin is not None
    assert recorded.wall_ns(START_NS + 2000 * MS) == begin + 2500 * MS


def test_damage_in_any_file_is_damage(tmp_path: Path) -> None:
    first = begun(tmp_path / "a.sld", loop(10), ended=ended(10 * MS, 10))
    second = restarted(tmp_path / "b.sld", 2000 * MS, loop(10, at_ns=2001 * MS))
    timeline = joined([first, second])
    assert not timeline.damaged
    timeline.close()
    data = bytearray(second.read_bytes())
    data[len(data) // 2] ^= 1
    second.write_bytes(data)
    assert joined([first, second]).damaged


def test_what_was_discarded_of_the_files_is_added_up(tmp_path: Path) -> None:
    first = begun(tmp_path / "a.sld", loop(10), ended=ended(10 * MS, 10))
    timeline = joined([first, restarted(tmp_path / "b.sld", 2000 * MS, loop(10, at_ns=2001 * MS))])
    assert isinstance(timeline, JoinedRecording)
    assert timeline.discarded is None
    one, other = (
        Discarded(1, {"trap": 2}, 3, 4, {}, 5, 6),
        Discarded(11, {"trap": 9, "exit": 1}, 13, 14, {}, 15, 16),
    )
    for recording, account in zip(timeline.recordings, (one, other), strict=True):
        recording.discarded = account
    del timeline.discarded
    assert timeline.discarded == Discarded(1, {"trap": 11, "exit": 1}, 3, 4, {}, 5, 6)
    # Before a later file: in the gap before it.
    timeline.recordings[0].discarded = None
    del timeline.discarded
    assert timeline.discarded == Discarded(11, {"trap": 9, "exit": 1}, 13, 0, {}, 15, 16)


def test_names_of_threads_are_in_order_of_time(tmp_path: Path) -> None:
    late, soon = task(301, b"b", tgid=100) | {"ns": START_NS + 5 * MS}, task(302, b"a", tgid=900)
    first = begun(tmp_path / "a.sld", loop(10), tasks=[soon, late], ended=ended(10 * MS, 10))
    second = write(
        tmp_path / "b.sld",
        [early(2001 * MS)],
        opening=facts(clock={"monotonic_ns": START_NS + 2000 * MS}, host=HOST),
        tasks=[late, task(303, b"c", tgid=1) | {"ns": START_NS + 2000 * MS}],
    )
    timeline = joined([first, second])
    assert timeline.records("task")["tid"].tolist() == [302, 301, 303]
    assert timeline.counts["task"] == 3


def costly(path: Path, at_ns: int, **cost: Any) -> Path:
    clock = {"monotonic_ns": START_NS + at_ns, "realtime_ns": facts()["clock"]["realtime_ns"] + at_ns}
    rows = [early(at_ns)]
    end = {"monotonic_ns": START_NS + at_ns + 10 * MS, "realtime_ns": clock["realtime_ns"] + 10 * MS}
    closed = closing(1) | {"clock": end, "cost": cost, "unfinished": {"trap": 2, "odd": -1}}
    return write(path, rows, opening=facts(clock=clock, host=HOST), ended=closed)


def test_what_recordings_cost_is_added_up(tmp_path: Path) -> None:
    one = {"elapsed_ns": 1, "recorder_cpu_ns": 2, "measured_ns": 3, "probes_ns": 4, "memory_bytes": 50}
    other = {"elapsed_ns": 10, "recorder_cpu_ns": 20, "measured_ns": 30, "probes_ns": None, "memory_bytes": 5}
    closed = joined(
        [costly(tmp_path / "a.sld", 0, **one), costly(tmp_path / "b.sld", 100 * MS, **other)]
    ).closing
    assert closed is not None
    assert closed["cost"] == {"elapsed_ns": 11, "recorder_cpu_ns": 22, "measured_ns": 33} | {
        "probes_ns": None, "memory_bytes": 50
    }  # fmt: skip
    assert (closed["unfinished"], closed["seen"]) == ({"trap": 4}, {"trap": 2})


def test_other_options_are_a_warning(tmp_path: Path) -> None:
    first = begun(tmp_path / "a.sld", loop(10), ended=ended(10 * MS, 10))
    second = restarted(tmp_path / "b.sld", 2000 * MS, [], filters={"vm": ["web01"]})
    recorded = Trace(joined([first, second]))
    assert recorded.recording.warnings[1:] == ["b.sld was recorded with other options (filters, --exits)"]
    assert recorded.facts["filters"]["vm"] == ["web01"]


HOST = {"name": "web01", "boot_id": "a"}


def begun(path: Path, rows: list[Any], **more: Any) -> Path:
    """A recording of that host."""
    return write(path, rows, opening=facts(host=HOST), **more)


def ended(at_ns: int, seen: int) -> dict[str, Any]:
    """Closing facts of a recorder that was stopped then."""
    clock = {"monotonic_ns": START_NS + at_ns, "realtime_ns": facts()["clock"]["realtime_ns"] + at_ns}
    return closing(seen) | {"clock": clock}


def restarted(path: Path, at_ns: int, rows: list[Any], late_ns: int = 0, **groups: Any) -> Path:
    """A recording that begins then; late_ns: how far the clock was set forward in between."""
    now = facts()["clock"]["realtime_ns"] + at_ns + late_ns
    opening = facts(clock={"monotonic_ns": START_NS + at_ns, "realtime_ns": now}, host=HOST, **groups)
    end = {"monotonic_ns": CLOSED_NS, "realtime_ns": now + CLOSED_NS - START_NS - at_ns}
    return write(path, rows, opening=opening, ended=closing(len(rows)) | {"clock": end})


def test_slices_of_several_files_are_in_order_of_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeated records of old times, at the begin of each file, do not hold the others back."""
    monkeypatch.setattr(slices, "SLICE", 16)
    recorded = trace(tmp_path, loop(200))
    files = rotate(recorded.recording, tmp_path / "host.sld", cuts(recorded, 4))
    found = list(slices.slices(joined(files), frozenset({"trap", "detection"})))
    starts = [each["trap"]["start_ns"] for each in found if "trap" in each]
    assert len(starts) == len(files)
    assert all(one.max() <= other.min() for one, other in pairwise(starts))
    assert sum(map(len, starts)) == len(recorded.rows("trap"))
