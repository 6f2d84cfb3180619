"""Where a log comes from: files of any kind, and a system that refuses this or that."""

import gzip
import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.kernlog import sources
from sldtrace.kernlog.survey import Survey
from tests.analyzers.synthetic import completed, write

LINE = b"x86/split lock detection: #AC: CPU 0/KVM/7 took a split_lock trap at address: 0x7c40\n"


def read(path: Path) -> Survey:
    survey = Survey()
    for _, log in sources.file(path):
        survey.read(log)
    return survey


def refused(path: Path) -> str:
    with pytest.raises(SldtraceError) as caught:
        read(path)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LINE * 3)
    assert read(tmp_path / "log").matched == {"trap": 3}


def test_a_source_is_named_by_its_file_and_its_member(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LINE)
    with zipfile.ZipFile(tmp_path / "logs.zip", "w") as archive:
        archive.write(tmp_path / "log", "kern.log")
    for name, shown in (("log", "log"), ("logs.zip", "logs.zip: kern.log")):
        assert [source.name for source, _ in sources.file(tmp_path / name)] == [f"{tmp_path}/{shown}"]


def test_an_empty_file_is_an_empty_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    assert read(tmp_path / "log").tally.lines == 0


def test_the_size_of_a_regular_file_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LINE)
    os.mkfifo(tmp_path / "pipe")
    paths = (tmp_path / "log", tmp_path / "pipe", tmp_path / "none", tmp_path, Path("a\0b"))
    assert [sources.size(path) for path in paths] == [len(LINE), 0, 0, 0, 0]


def test_standard_input(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LINE * 2)
    kept = os.dup(0)
    file = os.open(tmp_path / "log", os.O_RDONLY)
    os.dup2(file, 0)
    try:
        assert sources.size(Path("-")) == 2 * len(LINE)
        assert read(Path("-")).matched == {"trap": 2}
        os.fstat(0)  # still open
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(file)


def test_the_bytes_that_were_read_are_counted(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LINE * 3)
    counted: list[int] = []
    for _, log in sources.file(tmp_path / "log", counted.append):
        Survey().read(log)
    assert sum(counted) == 3 * len(LINE)


def test_a_file_that_may_not_be_read_has_another_hint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(SldtraceError) as caught:
        read(tmp_path / "none")
    assert caught.value.hint
    assert caught.value.hint.startswith("name a file")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SldtraceError) as caught:
        read(tmp_path / "none")
    assert caught.value.hint == "run it as root, or as a member of the group adm"


def test_a_pipe(tmp_path: Path) -> None:
    near, far = os.pipe()
    os.write(far, LINE)
    os.close(far)
    assert read(Path(f"/dev/fd/{near}")).matched == {"trap": 1}
    os.close(near)


def test_a_damaged_file_is_read_as_far_as_it_can_be(tmp_path: Path) -> None:
    (tmp_path / "log.gz").write_bytes(gzip.compress(LINE) + gzip.compress(LINE)[:-9])
    survey = Survey()
    read_sources = []
    for source, log in sources.file(tmp_path / "log.gz"):
        survey.read(log)
        read_sources.append(source)
    assert survey.matched["trap"] >= 1
    assert "the gzip data is damaged" in read_sources[0].damage


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        (b"LPKSHHRH", "is a binary journal; journalctl --file FILE"),
        (b"\x04\x22\x4d\x18", "is compressed by lz4; lz4cat FILE | sldtrace log -"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive; 7z x"),
    ],
)
def test_other_formats_are_named_with_what_reads_them(tmp_path: Path, begin: bytes, said: str) -> None:
    (tmp_path / "log").write_bytes(begin + bytes(20))
    assert said in refused(tmp_path / "log")


def test_zstd_without_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
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
    names = []
    for source, log in sources.running_system():
        survey.read(log)
        names.append(source.name)
    return ", ".join(names), survey


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


def test_a_program_that_is_missing_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = ((["/nonexistent/journalctl"], "the journal", ""), (command(tmp_path, "d", TRAP), "dmesg", ""))
    monkeypatch.setattr(sources, "_COMMANDS", commands)
    assert [source.name for source, _ in sources.running_system()] == ["dmesg"]


def test_the_device_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "kmsg")  # with a writer: at its end a read would block, as one of the device
    writer = os.open(tmp_path / "kmsg", os.O_RDWR)
    os.write(writer, b"4,1,99000002,-;" + LINE)
    monkeypatch.setattr(sources, "_KMSG", tmp_path / "kmsg")
    before = os.listdir("/proc/self/fd")
    name, survey = running(monkeypatch, tmp_path, "exit 1", "exit 1")
    assert os.listdir("/proc/self/fd") == before
    os.close(writer)
    assert (name, survey.matched) == ("the kernel's ring buffer (/dev/kmsg)", {"trap": 1})
    (thread,) = survey.traps()
    assert thread.first.boot_ns == 99_000_002_000


def test_records_of_the_device_that_were_overwritten_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kmsg").write_bytes(b"")
    monkeypatch.setattr(sources, "_KMSG", tmp_path / "kmsg")
    said: list[bytes | OSError] = [b"4,1,99000002,-;" + LINE, BrokenPipeError(), LINE, BlockingIOError()]

    def read(file: int, size: int) -> bytes:
        each = said.pop(0)
        if isinstance(each, OSError):
            raise each
        return each

    monkeypatch.setattr(sources, "_COMMANDS", ())
    monkeypatch.setattr(os, "read", read)
    ((_, log),) = sources.running_system()
    monkeypatch.undo()
    assert log.read(1000).count(b"split_lock") == 2


def test_a_system_that_shows_nothing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_KMSG", tmp_path / "none")
    monkeypatch.setattr(sources, "_COMMANDS", ((["/nonexistent/journalctl"], "the journal", ""),))
    with pytest.raises(SldtraceError, match=r"cannot be read here.*run it as root"):
        next(sources.running_system())


def test_a_command_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = command(tmp_path, "j", "echo x; exec sleep 1000")
    monkeypatch.setattr(sources, "_COMMANDS", ((script, "the journal", ""),))
    running_system = sources.running_system()
    source, log = next(running_system)
    assert log.read(2) == b"x\n"
    running_system.close()
    assert source.name == "the journal"
