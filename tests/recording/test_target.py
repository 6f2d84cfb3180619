"""The folder of a recording is looked at before anything is compiled or started."""

import errno
import fcntl
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.recording import reader, target


@pytest.mark.parametrize(
    ("flags", "words"), [(os.ST_RDONLY, "Read-only file system"), (0, "Permission denied")]
)
def test_a_folder_that_may_not_be_written_to_is_known_beforehand(
    flags: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.sld"
    target.check(path, force=False)
    # Root may write everywhere: the kernel's answers are played.
    monkeypatch.setattr(os, "access", lambda where, mode: False)
    monkeypatch.setattr(os, "statvfs", lambda where: SimpleNamespace(f_flag=flags))
    with pytest.raises(SldtraceError, match=f"cannot create .*a.sld: {words}; write the recording somewhere"):
        target.check(path, force=False)


def test_a_file_is_locked_as_long_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    file = target.create(path, False, b"first")
    assert target.is_being_written(path)
    for force in (False, True):
        with pytest.raises(SldtraceError, match="is being written by another" if force else "exists"):
            target.create(path, force, b"second")
    assert [each.name for each in tmp_path.iterdir()] == ["a.sld"]
    os.close(file)
    assert not target.is_being_written(path)
    os.close(target.create(path, True, b"second"))
    assert path.read_bytes() == b"second"


def test_to_ask_whether_it_is_being_written_neither_blocks_nor_follows_a_link(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not target.is_being_written(tmp_path / "pipe")
    file = target.create(tmp_path / "a.sld", False, b"x")
    (tmp_path / "link").symlink_to(tmp_path / "a.sld")
    assert target.is_being_written(tmp_path / "a.sld")
    assert not target.is_being_written(tmp_path / "link")
    os.close(file)


def test_a_file_that_becomes_a_pipe_does_not_block_its_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "a.sld")
    monkeypatch.setattr(stat, "S_ISREG", lambda mode: True)
    with pytest.raises(SldtraceError):
        reader.open_recording(tmp_path / "a.sld")


def test_of_two_that_overwrite_at_once_the_later_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.sld"
    real = target.check
    others: list[int] = []

    def check(where: Path, force: bool) -> None:
        real(where, force)
        if force and not others:
            # Another recorder comes between the two checks.
            others.append(target.create(where, False, b"first"))

    monkeypatch.setattr(target, "check", check)
    with pytest.raises(SldtraceError, match="is being written by another recorder"):
        target.create(path, True, b"second")
    assert path.read_bytes() == b"first"
    assert [each.name for each in tmp_path.iterdir()] == ["a.sld"]
    os.close(others[0])


def test_a_file_system_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    path = tmp_path / "a.sld"
    os.close(target.create(path, False, b"first"))
    assert path.read_bytes() == b"first"
    assert not target.is_being_written(path)
