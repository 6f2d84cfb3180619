"""A recording in several files: what each of them holds, how they are named, and which are deleted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sldtrace.errors import SldtraceError
from sldtrace.recording import rotation
from sldtrace.recording.reader import open_recording
from sldtrace.recording.rotation import Rotation, RotationOptions
from sldtrace.recording.writer import Writer

from . import samples

SECOND = 10**9


class Clock:
    def __init__(self) -> None:
        self.now = 1000 * SECOND

    def __call__(self) -> int:
        return self.now

    def moment(self) -> dict[str, Any]:
        return {"clock": {"monotonic_ns": self.now, "realtime_ns": self.now + 10**18}}


def begun(folder: Path, rotate: RotationOptions, clock: Clock | None = None) -> Rotation:
    clock = clock or Clock()
    return Rotation(folder / "host.sld", {"a": 1}, rotate, clock.moment, compress=False, clock=clock)


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def lost(count: int, cause: int) -> np.ndarray:
    records = samples.plain("lost", 1, 5)
    records["count"], records["kind"], records["cause"] = count, 1, cause
    return records


def test_each_file_stands_for_itself(tmp_path: Path) -> None:
    clock = Clock()
    out = begun(tmp_path, RotationOptions(bytes=200_000), clock)
    task = samples.plain("task", 1, 5)
    task["tid"], task["comm"] = 7, b"vcpu"
    out.append("task", task)
    every = []
    for part in range(5):  # 112 kB each: two to a file
        clock.now += SECOND
        every.append(samples.plain("trap", 1000, part * 10**9))
        out.append("trap", every[-1])
        out.append("lost", lost(3 + part, 1))
        out.append("lost", lost(100, 4))  # skipped: never seen, so in no account of what was
        out.facts_update({"processes": {str(part): {"comm": "x"}}})
        out.flush()
    out.close({"ended_by": "SIGINT", "seen": {"trap": 5025}})
    assert names(tmp_path) == ["host.0001.sld", "host.0002.sld", "host.0003.sld"]
    accounted = 0
    for number, parts in ((1, (0, 1)), (2, (2, 3)), (3, (4,))):
        with open_recording(tmp_path / f"host.000{number}.sld") as recording:
            assert recording.warnings == []
            assert recording.closed
            kept = recording.records("trap")
            assert kept.tobytes() == np.concatenate([every[part] for part in parts]).tobytes()
            assert set(recording.records("task")["tid"]) == {7}
            losses = {loss.cause: loss.count for loss in recording.losses}
            assert losses == {"ring_full": sum(3 + part for part in parts), "skipped": 100 * len(parts)}
            assert recording.facts["segment"]["number"] == number
            assert recording.facts["segment"]["before"] == {"trap": accounted}
            assert recording.facts["clock"]["monotonic_ns"] == (1000 + parts[0]) * SECOND
            assert recording.facts.get("processes", {}).keys() == {str(part) for part in range(parts[0])}
            accounted += len(kept) + losses["ring_full"]
            last = recording.closing or {}
            assert last["ended_by"] == ("SIGINT" if number == 3 else "rotation")
    assert accounted == 5025


def test_time_begins_a_new_file_only_when_there_is_something_in_the_old_one(tmp_path: Path) -> None:
    clock = Clock()
    out = begun(tmp_path, RotationOptions(time_ns=60 * SECOND), clock)
    for _ in range(10):
        clock.now += 100 * SECOND
        out.flush()
    assert names(tmp_path) == ["host.0001.sld"]
    out.append("trap", samples.plain("trap", 1, 5))
    out.flush()
    out.append("trap", samples.plain("trap", 1, 6))
    clock.now += 59 * SECOND
    out.flush()
    assert names(tmp_path) == ["host.0001.sld", "host.0002.sld"]
    clock.now += SECOND
    out.flush()
    assert out.path == tmp_path / "host.0003.sld"
    out.close({})


def test_old_files_are_deleted_but_nothing_else(tmp_path: Path) -> None:
    for name in ("host.sld", "host.0002.sld.txt", "other.0001.sld", "host.x.sld", "host.0001.sld"):
        (tmp_path / name).write_text("precious")
    (tmp_path / "host.0002.sld").symlink_to("other.0001.sld")
    Writer(tmp_path / "host.0003.sld", {}).close({})  # of an earlier recording
    (tmp_path / "host.0004.sld").touch()  # begun when its recorder was killed
    kept = set(names(tmp_path)) - {"host.0003.sld", "host.0004.sld"}
    out = begun(tmp_path, RotationOptions(bytes=1, max_files=2))
    for _ in range(5):
        out.append("trap", samples.plain("trap", 1, 5))
        out.flush()
    out.close({})
    assert set(names(tmp_path)) - kept == {"host.0009.sld", "host.0010.sld"}
    assert (tmp_path / "host.0001.sld").read_text() == "precious"


def test_a_file_that_cannot_be_begun_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = begun(tmp_path, RotationOptions(bytes=50_000))

    def refused(*_: object, **__: object) -> None:
        raise SldtraceError("cannot create host.0002.sld: Permission denied")

    monkeypatch.setattr(rotation, "Writer", refused)
    out.append("trap", samples.plain("trap", 500, 5))
    out.flush()
    assert (
        out.warning
        == "cannot create host.0002.sld: Permission denied: the recording continues in host.0001.sld"
    )
    monkeypatch.undo()
    out.append("trap", samples.plain("trap", 500, 6))
    out.flush()
    assert out.path.name == "host.0002.sld"
    out.close({})
    with open_recording(tmp_path / "host.0002.sld") as recording:
        assert recording.facts["segment"]["before"] == {"trap": 1000}


def test_a_folder_that_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SldtraceError, match="No such file or directory") as caught:
        begun(tmp_path / "none", RotationOptions(bytes=1))
    assert "\n" not in str(caught.value)


def test_many_files_keep_their_order(tmp_path: Path) -> None:
    Writer(tmp_path / "host.9999.sld", {}).close({})
    out = begun(tmp_path, RotationOptions(bytes=1))
    out.close({})
    assert list(rotation.segments(tmp_path / "host.sld")) == [9999, 10000]


def test_a_second_recorder_of_the_same_name_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    first = begun(tmp_path, RotationOptions(bytes=1, max_files=1))
    before = names(tmp_path)
    with pytest.raises(SldtraceError, match=r"host.0001.sld is being written by another recorder"):
        begun(tmp_path, RotationOptions(bytes=1, max_files=1))
    with pytest.raises(SldtraceError, match="is being written by another recorder"):
        rotation.check(tmp_path / "host.sld")
    assert names(tmp_path) == before
    first.append("trap", samples.plain("trap", 1, 5))
    first.flush()
    first.close({})
    rotation.check(tmp_path / "host.sld")
    assert names(tmp_path) == ["host.0002.sld"]


def test_of_two_recorders_that_start_at_once_the_later_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = begun(tmp_path, RotationOptions(bytes=1))
    # As if the file of the first had come after the look for others.
    monkeypatch.setattr(rotation, "check", lambda path: None)
    with pytest.raises(SldtraceError, match="is being written by another recorder"):
        begun(tmp_path, RotationOptions(bytes=1))
    assert names(tmp_path) == ["host.0001.sld"]
    first.close({})


def test_a_file_that_another_recorder_writes_is_not_deleted(tmp_path: Path) -> None:
    out = begun(tmp_path, RotationOptions(bytes=1, max_files=2))
    # One that took a number of this recording afterwards, by its own name.
    other = Writer(tmp_path / "host.0002.sld", {})
    for _ in range(5):
        out.append("trap", samples.plain("trap", 1, 5))
        out.flush()
    assert "host.0002.sld" in names(tmp_path)
    other.close({})
    out.append("trap", samples.plain("trap", 1, 5))
    out.flush()
    out.close({})
    assert names(tmp_path) == ["host.0007.sld", "host.0008.sld"]


@pytest.mark.parametrize("number", ["9999", "999999999", "999999999999999999"])
def test_any_number_in_the_folder_lets_the_next_recorders_start(number: str, tmp_path: Path) -> None:
    (tmp_path / f"host.{number}.sld").touch()
    for start in range(3):
        out = begun(tmp_path, RotationOptions(bytes=1))
        assert out.path.name == f"host.{int(number) + 1 + start}.sld"
        out.close({})


def test_numbers_that_are_taken_are_skipped(tmp_path: Path) -> None:
    out = begun(tmp_path, RotationOptions(bytes=1))
    for number in (2, 3):
        (tmp_path / f"host.000{number}.sld").write_text("precious")
    out.append("trap", samples.plain("trap", 1, 5))
    out.flush()
    assert out.warning is None
    assert out.path.name == "host.0004.sld"
    out.close({})
    with open_recording(tmp_path / "host.0004.sld") as recording:
        assert recording.facts["segment"]["number"] == 4
    assert (tmp_path / "host.0002.sld").read_text() == "precious"


def test_the_file_before_is_whole_when_only_one_is_kept(tmp_path: Path) -> None:
    out = begun(tmp_path, RotationOptions(bytes=1, max_files=1))
    for _ in range(3):
        out.append("trap", samples.plain("trap", 1, 5))
        out.flush()
        assert len(names(tmp_path)) == 1
    out.close({})
    with open_recording(out.path) as recording:
        assert recording.warnings == []
