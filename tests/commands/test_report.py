"""`sldtrace report`: what it cannot read is one line; what it can, a report and a status."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import sldtrace
from sldtrace import cli
from sldtrace.analyzers.finding import Finding, Severity
from sldtrace.analyzers.findings import catalogue
from sldtrace.commands import report as module
from sldtrace.dataset.trace import Trace
from sldtrace.errors import SldtraceError
from tests.analyzers.synthetic import LONGEST, completed, lasting, loop, write

LIVELOCK = loop(200)
HELD_UP = lasting(2 * LONGEST, 30)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(module.report, [str(argument) for argument in arguments])


def refused(path: object, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What the whole program says about it: one line, status 1, nothing on stdout."""
    with pytest.raises(SystemExit) as ended:
        cli.run(["report", str(path), *options])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert said.out == ""
    assert said.err.startswith("sldtrace: ")
    assert said.err.count("\n") == 1
    assert said.err.endswith("\n")
    return said.err


@pytest.mark.parametrize("options", [(), ("--format=json",), ("--fail-on", "notice")])
def test_what_is_no_recording_is_one_line(
    options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("Dear reader,\nthis is a letter.\n" * 50)
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 64)
    (tmp_path / "short").write_bytes(b"\x7f")
    os.mkfifo(tmp_path / "pipe")
    assert "empty is empty" in refused(tmp_path / "empty", capsys, *options)
    assert "is a directory" in refused(tmp_path, capsys, *options)
    assert "none does not exist" in refused(tmp_path / "none", capsys, *options)
    assert "pipe is not a regular file" in refused(tmp_path / "pipe", capsys, *options)
    for name in ("text", "binary", "short"):
        assert f"{name} is not an sldtrace recording" in refused(tmp_path / name, capsys, *options)
    assert r"a\nb does not exist" in refused(tmp_path / "a\nb", capsys, *options)


def test_a_recording_cut_anywhere_is_a_report_or_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write(tmp_path / "whole.sld", LIVELOCK).read_bytes()
    path = tmp_path / "cut.sld"
    read = 0
    for size in [*range(1, 200, 13), *range(200, len(whole), max(1, len(whole) // 40))]:
        path.write_bytes(whole[:size])
        result = run(path)
        if result.exit_code == 0:
            read += 1
            assert "warning: " in result.output
            assert "INCOMPLETE RECORDING" in result.output or "LIVELOCK" in result.output
        else:
            assert isinstance(result.exception, SldtraceError)
            refused(path, capsys)
    assert read > 10


def test_a_recording_with_flipped_bytes_is_a_report_with_a_warning_or_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write(tmp_path / "whole.sld", LIVELOCK).read_bytes()
    path = tmp_path / "flipped.sld"
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        result = run(path)
        if result.exit_code == 0:
            assert "warning: " in result.output, at
        else:
            assert isinstance(result.exception, SldtraceError), at
            refused(path, capsys)


@pytest.mark.parametrize(
    ("rows", "fail_on", "status"),
    [
        (LIVELOCK, None, 0),
        (LIVELOCK, "critical", 3),
        (LIVELOCK, "warning", 3),
        (LIVELOCK, "notice", 3),
        (HELD_UP, None, 0),
        (HELD_UP, "critical", 0),
        (HELD_UP, "warning", 3),
        (HELD_UP, "notice", 3),
        ([completed(0)], "notice", 0),
        ([], "notice", 0),
        (LIVELOCK + [row | {"tid": 999} for row in HELD_UP], "critical", 3),
    ],
)
@pytest.mark.parametrize("form", [(), ("--format=json",)])
def test_the_status_follows_the_worst_finding(
    rows: list[dict[str, int]], fail_on: str | None, status: int, form: tuple[str, ...], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.sld", rows)
    result = run(path, *form, *(["--fail-on", fail_on] if fail_on else []))
    assert result.exit_code == status
    assert result.output == run(path, *form).output


@pytest.mark.parametrize(("fail_on", "status"), [("notice", 3), ("warning", 0), ("critical", 0)])
def test_a_notice_is_the_least(
    fail_on: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = catalogue.run

    def lenient(trace: Trace) -> list[Finding[Any]]:
        return [Finding(**{**vars(each), "severity": Severity.NOTICE}) for each in real(trace)]

    monkeypatch.setattr(catalogue, "run", lenient)
    assert run(write(tmp_path / "a.sld", LIVELOCK), "--fail-on", fail_on).exit_code == status


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", LIVELOCK)
    assert run(path).output.startswith("LIVELOCK: vCPU 0")
    (finding,) = json.loads(run(path, "--format=json").output)["findings"]
    assert finding["verdict"] == "livelock"


@pytest.mark.parametrize(("columns", "width"), [(40, 80), (80, 80), (95, 95), (120, 120), (300, 120)])
def test_the_width_is_the_terminals_within_limits(
    columns: int, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")
    lines = run(write(tmp_path / "a.sld", LIVELOCK)).output.splitlines()
    assert width - 15 < max(map(len, lines)) <= width


def test_without_a_terminal_there_is_no_colour(tmp_path: Path) -> None:
    assert "\x1b" not in run(write(tmp_path / "a.sld", LIVELOCK)).output


def test_the_program_itself(tmp_path: Path) -> None:
    """As a user runs it: warnings of libraries would show here."""
    path = write(tmp_path / "a.sld", LIVELOCK)
    command = [sys.executable, "-m", "sldtrace", "report", str(path), "--fail-on", "critical"]
    root = str(Path(sldtrace.__file__).parents[1])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root})
    assert done.returncode == 3
    assert done.stdout.startswith("LIVELOCK: ")
    assert done.stderr == ""
