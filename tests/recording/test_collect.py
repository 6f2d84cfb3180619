"""Which files are taken from directories, and how they are grouped into timelines."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sldtrace.recording import collect
from sldtrace.recording.joined import JoinedRecording
from tests.analyzers.synthetic import MS, START_NS, WALL_NS, closing, facts, loop, write

SECOND = 1000 * MS


def recording(
    path: Path, host: str = "web01", boot: str = "a", at_ns: int = 0, length_ns: int = SECOND, **more: Any
) -> Path:
    """A recording of that host that begins then."""
    opening = facts(
        host={"name": host, "boot_id": boot},
        clock={"monotonic_ns": START_NS + at_ns, "realtime_ns": WALL_NS + at_ns},
    )
    end = {"monotonic_ns": START_NS + at_ns + length_ns, "realtime_ns": WALL_NS + at_ns + length_ns}
    rows = loop(20, at_ns=at_ns)
    return write(path, rows, opening=opening, ended=closing(len(rows)) | {"clock": end}, **more)


def names(timelines: Any) -> list[list[str]]:
    return [[part.name for part in each.parts] for each in timelines]


def test_a_directory_stands_for_its_recordings(tmp_path: Path) -> None:
    recording(tmp_path / "b.sld")
    recording(tmp_path / "no-suffix")
    (tmp_path / "a.sld").write_text("no recording, but it should be one")
    (tmp_path / "notes.txt").write_text("nothing of ours")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    recording_below = tmp_path / "below"
    recording_below.mkdir()
    recording(recording_below / "c.sld")
    found = collect.find([tmp_path])
    assert [path.name for path in found.files] == ["a.sld", "b.sld", "no-suffix"]
    assert (found.others, found.folders, found.unreadable) == (3, 1, ())
    found = collect.find([tmp_path], recursive=True)
    assert [path.name for path in found.files] == ["a.sld", "b.sld", "c.sld", "no-suffix"]
    assert found.folders == 0


def test_a_file_that_is_named_is_taken_whatever_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing of ours")
    paths = [tmp_path / "notes.txt", tmp_path / "none"]
    assert collect.find(paths).files == tuple(paths)
    collection = collect.open_all(paths)
    assert collection.timelines == ()
    assert [each.reason.split(";")[0] for each in collection.unreadable] == [
        f"{paths[0]} is not an sldtrace recording",
        f"{paths[1]} does not exist",
    ]


def test_a_file_with_several_names_counts_once(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.sld")
    (tmp_path / "b.sld").symlink_to(path)
    (tmp_path / "c.sld").hardlink_to(path)
    assert collect.find([tmp_path, path]).files == (path,)


def test_a_link_to_a_directory_does_not_lead_in_circles(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/back").symlink_to(tmp_path)
    recording(tmp_path / "below/a.sld")
    assert len(collect.find([tmp_path], recursive=True).files) == 1


def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").touch()

    def refused(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    assert [each.reason for each in collect.find([tmp_path]).unreadable] == [
        f"cannot read {tmp_path}/secret: Permission denied"
    ]


def test_a_directory_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)
    found = collect.find([tmp_path])
    assert [each.reason for each in found.unreadable] == [f"cannot read {tmp_path}: Permission denied"]


def test_hosts_and_boots_are_apart(tmp_path: Path) -> None:
    recording(tmp_path / "1.sld", "web02", "x", at_ns=5 * SECOND)
    recording(tmp_path / "2.sld", "web01", "b", at_ns=9 * SECOND)
    recording(tmp_path / "3.sld", "web01", "a", at_ns=3 * SECOND)
    recording(tmp_path / "4.sld", "web02", "x", at_ns=1 * SECOND)
    recording(tmp_path / "5.sld", "web01", "a", at_ns=17 * SECOND)
    with collect.open_all(sorted(tmp_path.iterdir())) as collection:
        assert names(collection.timelines) == [["3.sld", "5.sld"], ["2.sld"], ["4.sld", "1.sld"]]
        assert [isinstance(each, JoinedRecording) for each in collection.timelines] == [True, False, True]
        assert collection.notes == ()


def test_a_copy_is_read_once_the_longer_one(tmp_path: Path) -> None:
    path = recording(tmp_path / "whole.sld")
    (tmp_path / "cut.sld").write_bytes(path.read_bytes()[:-100])
    shutil.copy(path, tmp_path / "z.sld")
    with collect.open_all(sorted(tmp_path.iterdir())) as collection:
        assert names(collection.timelines) == [["whole.sld"]]
    assert collection.notes == (
        f"{tmp_path}/cut.sld is a copy of {tmp_path}/whole.sld: read once",
        f"{tmp_path}/z.sld is a copy of {tmp_path}/whole.sld: read once",
    )


def test_two_recorders_at_a_time_are_two_timelines(tmp_path: Path) -> None:
    """Each has recorded each trap: together they would have it twice."""
    recording(tmp_path / "a.sld", at_ns=0, length_ns=2 * SECOND)
    recording(tmp_path / "b.sld", at_ns=SECOND, length_ns=2 * SECOND)
    recording(tmp_path / "c.sld", at_ns=3 * SECOND)
    with collect.open_all(sorted(tmp_path.iterdir())) as collection:
        assert names(collection.timelines) == [["a.sld", "c.sld"], ["b.sld"]]
    assert collection.notes == (
        f"{tmp_path}/b.sld overlaps {tmp_path}/a.sld by 1 s: two recorders at a time, reported one by one",
    )


def test_names_are_escaped(tmp_path: Path) -> None:
    path = recording(tmp_path / "a\x1b[2J.sld")
    shutil.copy(path, tmp_path / "b\n.sld")
    (tmp_path / "c\n.sld").touch()
    collection = collect.open_all(sorted(tmp_path.iterdir()))
    for line in (*collection.notes, *(each.reason for each in collection.unreadable)):
        assert line.isprintable()


def test_simulations_with_other_options_are_not_joined(tmp_path: Path) -> None:
    """They begin at one time, in one process, with one number."""
    files = []
    for timer in ("1ms", "20ms"):
        opening = facts(host={}, simulated={"timer": timer})
        files.append(write(tmp_path / f"{timer}.sld", loop(20), opening=opening))
    files.append(Path(shutil.copyfile(files[0], tmp_path / "copy.sld")))
    with collect.open_all(files) as found:
        assert names(found.timelines) == [["1ms.sld"], ["20ms.sld"]]
        assert len(found.notes) == 1
