"""Where a log comes from: files of any kind, and a system that refuses this or that."""

import gzip
import lzma
import os
import stat
from pathlib import Path

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.kernlog import sources
from sldtrace.kernlog.survey import Survey
from tests.analyzers.synthetic import completed, write

LINE = b"x86/split lock detection: #AC: CPU 0/KVM/7 took a split_lock trap at address: 0x7c40\n"


def read(path: Path) -> Survey:
    survey = Survey()
    with sources.file(path) as (_, log):
        survey.read(log)
    return survey


def refused(path: Path) -> str:
    with pytest.raises(SldtraceError) as caught:
        read(path)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_files(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    (tmp_path / "log").write_bytes(pack(LINE * 3))
    assert read(tmp_path / "log").matched == {"trap": 3}


def test_an_empty_file_is_an_empty_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    assert read(tmp_path / "log").tally.lines == 0


def test_a_pipe(tmp_path: Path) -> None:
    near, far = os.pipe()
    os.write(far, LINE)
    os.close(far)
    assert read(Path(f"/dev/fd/{near}")).matched == {"trap": 1}
    os.close(near)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data[:20] + b"\xff" * 30 + data[50:]]
)
@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_damaged_file_is_one_line(tmp_path: Path, damage: object, pack: object) -> None:
    assert callable(damage)
    assert callable(pack)
    (tmp_path / "log").write_bytes(damage(pack(os.urandom(200) + LINE * 50)))
    assert "xzcat" in refused(tmp_path / "log")


def test_zstd_is_left_to_zstdcat(tmp_path: Path) -> None:
    (tmp_path / "log.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    assert "is compressed by zstd; zstdcat FILE | sldtrace log -" in refused(tmp_path / "log.zst")


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    assert "none: No such file" in refused(tmp_path / "none")
    assert "Is a directory" in refused(tmp_path)
    assert r"a\nb" in refused(tmp_path / "a\nb")
    assert "null byte" in refused(Path("a\0b"))


def test_a_recording_is_not_a_log(tmp_path: Path) -> None:
    assert "is a recording" in refused(write(tmp_path / "x.sld", [completed(0)]))


def command(folder: Path, name: str, script: str) -> list[str]:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(stat.S_IRWXU)
    return [str(path)]


def running(monkeypatch: pytest.MonkeyPatch, folder: Path, journal: str, dmesg: str) -> tuple[str, Survey]:
    commands = (
        (command(folder, "j", journal), "the journal", "a"),
        (command(folder, "d", dmesg), "dmesg", "b"),
    )
    monkeypatch.setattr(sources, "_COMMANDS", commands)
    survey = Survey()
    with sources.running_system() as (source, log):
        survey.read(log)
    return source.name, survey


TRAP = f"printf '%s' '{LINE.decode()}'"


def test_the_journal_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, survey = running(monkeypatch, tmp_path, TRAP, "echo x")
    assert (name, survey.matched) == ("the journal", {"trap": 1})


@pytest.mark.parametrize("journal", ["exit 1", "exit 0", "echo no >&2; exit 1"])
def test_a_journal_without_lines_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: str
) -> None:
    name, survey = running(monkeypatch, tmp_path, journal, TRAP)
    assert (name, survey.matched) == ("dmesg", {"trap": 1})


def test_the_device_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kmsg").write_bytes(b"4,1,99000002,-;" + LINE)
    monkeypatch.setattr(sources, "_KMSG", tmp_path / "kmsg")
    real = os.read
    monkeypatch.setattr(os, "read", lambda file, size: real(file, size) or _would_block())
    name, survey = running(monkeypatch, tmp_path, "exit 1", "exit 1")
    assert (name, survey.matched) == ("the kernel's ring buffer (/dev/kmsg)", {"trap": 1})
    (thread,) = survey.traps()
    assert thread.first.boot_ns == 99_000_002_000


def _would_block() -> bytes:
    raise BlockingIOError


def test_a_system_that_shows_nothing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_KMSG", tmp_path / "none")
    monkeypatch.setattr(sources, "_COMMANDS", ((["/nonexistent/journalctl"], "the journal", ""),))
    with pytest.raises(SldtraceError, match=r"cannot be read here.*run it as root"), sources.running_system():
        pass


def test_a_command_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = command(tmp_path, "j", "echo x; exec sleep 1000")
    monkeypatch.setattr(sources, "_COMMANDS", ((script, "the journal", ""),))
    with sources.running_system() as (source, log):
        assert log.read(2) == b"x\n"
    assert source.name == "the journal"
