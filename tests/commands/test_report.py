"""`sldtrace report`: what it cannot read is one line; what it can, a report and a status."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

import sldtrace
from sldtrace import cli
from sldtrace.analyzers.finding import Finding, Severity
from sldtrace.analyzers.findings import catalogue
from sldtrace.commands import report as module
from sldtrace.dataset.trace import Trace
from sldtrace.errors import EXIT_UNREADABLE, SldtraceError, UsageError
from sldtrace.recording import encoding
from sldtrace.recording.encoding import Codec, Encoder
from sldtrace.recording.writer import Writer
from tests.analyzers.synthetic import (
    FACTS,
    LONGEST,
    MS,
    START_NS,
    array,
    completed,
    facts,
    lasting,
    loop,
    trace,
    write,
)
from tests.recording import samples
from tests.recording.rotated import rotate
from tools import json_schemas

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
    (tmp_path / "folder").mkdir()
    assert "there is no recording in " in refused(tmp_path / "folder", capsys, *options)
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
        if result.exit_code in (0, 4):
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
        if result.exit_code in (0, 4):
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


LOST = {"ns": START_NS, "count": 7, "kind": 1, "cause": 1, "cpu": 0}
INCOMPLETE: dict[str, dict[str, Any]] = {
    "ended by an error": {"ended": {"ended_by": "error"}},
    "without an end": {"close": False},
    "with losses": {"lost": [LOST]},
    "missing traps": {"ended": {"ended_by": "SIGINT", "seen": {"trap": 9}}},
}


@pytest.mark.parametrize("kind", INCOMPLETE)
def test_nothing_found_in_an_incomplete_recording_is_not_fine(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", [completed(0)], **INCOMPLETE[kind])
    assert run(path).exit_code == 0
    for where in (path, tmp_path):
        result = run(where, "--fail-on", "critical")
        assert result.exit_code == 5
        assert "NOTHING FOUND IN AN INCOMPLETE RECORDING" in result.output
    path = write(tmp_path / "a.sld", LIVELOCK, **INCOMPLETE[kind])
    assert run(path, "--fail-on", "critical").exit_code == 3


def test_nothing_found_while_the_recorder_runs_is_not_fine(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "a.sld", FACTS)
    writer.append("trap", array("trap", [completed(0)]))
    writer.flush()
    for where in (tmp_path / "a.sld", tmp_path):
        result = run(where, "--fail-on", "critical")
        assert result.exit_code == 5
        assert "the recorder still runs" in result.output
    writer.close({})


@pytest.mark.parametrize("options", [(), ("--fail-on", "critical"), ("--what-if", "timer=20ms")])
def test_a_file_that_is_read_in_part_has_its_own_status(options: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", [completed(0), completed(100 * MS)])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for where in (path, tmp_path):
        result = run(where, *options)
        assert result.exit_code == 4
        assert result.output


@pytest.mark.parametrize(("fail_on", "status"), [("notice", 3), ("warning", 0), ("critical", 0)])
def test_a_notice_is_the_least(
    fail_on: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = catalogue.run

    def lenient(trace: Trace) -> list[Finding[Any]]:
        return [Finding(**{**vars(each), "severity": Severity.NOTICE}) for each in real(trace)]

    monkeypatch.setattr(catalogue, "run", lenient)
    assert run(write(tmp_path / "a.sld", LIVELOCK), "--fail-on", fail_on).exit_code == status


def test_brief_is_the_summary_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", LIVELOCK)
    brief = run(path, "--brief").output
    assert run(path).output.startswith(brief)
    assert brief.count("LIVELOCK") == 1
    assert "undo: sysctl kernel.split_lock_mitigate=1" in brief
    assert "Evidence" not in brief
    assert run(path, "--brief", "--format=json").exit_code != 0


def test_a_part_of_the_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", LIVELOCK)
    begin, middle = "2026-09-21 14:13:20", "2026-09-21T14:13:20.1Z"
    brief = run(path, "--brief", "--since", begin, "--until", middle).output
    times = "2026-09-21 14:13:20.000 UTC to 2026-09-21 14:13:20.100 UTC, 100 ms (--since, --until"
    assert times in " ".join(brief.split())
    assert "DELAYED" in brief
    assert "100 traps recorded, 0 lost in this part" in run(path, "--until", middle).output
    nothing = run(path, "--since", "2026-09-21 15:00")
    assert "nothing was recorded at that time" in str(nothing.exception)
    assert "2026-09-21 14:13:20.000 UTC to 2026-09-21 14:13:30.000 UTC" in str(nothing.exception)
    for wrong in (
        ("--since", "soon"),
        ("--since", middle, "--until", begin),
        ("--local-time", "--format=json"),
    ):
        assert isinstance(run(path, *wrong).exception, UsageError)


def test_a_part_of_the_time_of_a_folder(rotated: Path) -> None:
    output = run(rotated, "--since", "2026-09-21 14:13:20", "--until", "2026-09-21 14:13:20.040").output
    assert "40 traps recorded, 0 lost in this part" in output
    assert "nothing was recorded" in str(run(rotated, "--since", "1h ago").exception)


def test_times_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        output = run(
            write(tmp_path / "a.sld", LIVELOCK), "--local-time", "--since", "2026-09-21 23:13"
        ).output
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "recorded  2026-09-21 23:13:20.000 JST to " in output
    assert "UTC" not in output


def test_standard_input_is_a_recording(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", LIVELOCK)
    piped = CliRunner().invoke(module.report, ["-", "--brief"], input=path.read_bytes())
    assert piped.output == run(path, "--brief").output
    empty = CliRunner().invoke(module.report, ["-"], input=b"")
    assert "standard input is empty" in str(empty.exception)


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", LIVELOCK)
    assert "\nLIVELOCK: vCPU 0" in run(path).output
    (finding,) = json.loads(run(path, "--format=json").output)["findings"]
    assert finding["verdict"] == "livelock"


@pytest.mark.parametrize(("columns", "width"), [(60, 60), (80, 80), (95, 95), (120, 120), (300, 120)])
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
    assert "\nLIVELOCK: " in done.stdout
    assert done.stderr == ""


# Several files


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    """A folder with the files of --rotate: a livelock over all of them."""
    (tmp_path / "host").mkdir()
    whole = trace(tmp_path, LIVELOCK)
    ends = [START_NS + at * MS for at in (50, 100, 150)]
    rotate(whole.recording, tmp_path / "host/host.sld", ends)
    return tmp_path / "host"


def test_the_files_of_a_directory_are_one_report(rotated: Path) -> None:
    result = run(rotated)
    assert result.exit_code == 0
    assert result.output.count("\nLIVELOCK") == 2  # the summary, and the finding
    assert "Evidence: 200 traps" in result.output
    files = sorted(rotated.iterdir())
    assert run(*files).output == run(*reversed(files)).output == result.output
    assert run(rotated, *files, "--fail-on", "critical").exit_code == 3


def test_json_of_several_paths_is_a_list_of_reports(rotated: Path) -> None:
    (rotated / "notes.txt").write_text("nothing of ours")
    (report,) = (made := json.loads(run(rotated, "--format=json").stdout))["reports"]
    assert [each["name"] for each in report["recording"]["files"]] == [
        f"host.000{n}.sld" for n in range(1, 5)
    ]
    assert (made["unreadable"], made["notes"], made["not_recordings"]) == ([], [], 1)
    schemas = json_schemas.made()
    schemas["reports"]["properties"]["reports"]["items"] = schemas["report"]
    refer = {name: schemas["report"]["$defs"][name] for name in schemas["report"]["$defs"]}
    schemas["reports"]["$defs"] |= refer
    Draft202012Validator(schemas["reports"]).validate(made)
    (single,) = json.loads(run(rotated / "host.0001.sld", "--format=json").stdout)["findings"]
    assert single["evidence_count"] == 50


def test_what_if_works_on_several_files(rotated: Path) -> None:
    result = run(rotated, "--what-if", "mitigate=0")
    assert result.exit_code == 0
    whole = run(rotated.parent / "synthetic.sld", "--what-if", "mitigate=0")
    assert result.output == whole.output
    (made,) = json.loads(run(rotated, "--what-if", "mitigate=0", "--format=json").stdout)["reports"]
    alone = rotated.parent / "synthetic.sld"
    assert made == json.loads(run(alone, "--what-if", "mitigate=0", "--format=json").stdout)


def test_hosts_are_reported_one_after_the_other(tmp_path: Path) -> None:
    for host in ("web02", "web01\x1b[2J"):
        write(tmp_path / f"{host[:5]}.sld", LIVELOCK, opening=facts(host={"name": host}))
    output = run(tmp_path).stdout
    titles = [line for line in output.splitlines() if line.startswith("---")]
    assert titles == ["--- 1 of 2: web01\\x1b[2J, web01.sld ---", "--- 2 of 2: web02, web02.sld ---"]
    assert output.count("\nLIVELOCK: ") == 4  # each in the summary, and as a finding


def test_a_file_that_cannot_be_read_is_named_and_changes_the_status(rotated: Path) -> None:
    (rotated / "host.0002.sld").write_bytes(b"")
    result = run(rotated)
    assert result.exit_code == 4
    assert "host.0002.sld is empty" in result.stderr
    assert "50 ms between host.0001.sld and host.0003.sld were not recorded: 1 file missing" in " ".join(
        result.stdout.split()
    )
    # A finding is more.
    assert run(rotated, "--fail-on", "notice").exit_code == 3
    made = json.loads(run(rotated, "--format=json").stdout)
    assert [Path(each["path"]).name for each in made["unreadable"]] == ["host.0002.sld"]


def test_of_many_unreadable_files_some_are_named(tmp_path: Path) -> None:
    write(tmp_path / "good.sld", LIVELOCK)
    for number in range(30):
        (tmp_path / f"{number:02}.sld").touch()
    lines = run(tmp_path).stderr.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "sldtrace: not read: 10 more"


def test_nothing_that_can_be_read_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.sld", "b.sld"):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit) as ended:
        cli.run(["report", str(tmp_path)])
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (1, "")
    assert said.err.endswith("sldtrace: none of 2 files can be read\n")
    (tmp_path / "b.sld").unlink()
    assert "a.sld is empty" in refused(tmp_path, capsys)
    (tmp_path / "a.sld").unlink()
    (tmp_path / "hosts").mkdir()
    assert "sldtrace fleet also reads subdirectories" in refused(tmp_path, capsys)


def test_a_file_that_changes_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in ("a", "b"):
        write(tmp_path / f"{host}.sld", LIVELOCK, opening=facts(host={"name": host}))
    real = catalogue.run

    def changing(recorded: Trace) -> list[Finding[Any]]:
        if recorded.recording.path.name == "a.sld":
            raise SldtraceError("a.sld changed while it was read")
        return real(recorded)

    monkeypatch.setattr(catalogue, "run", changing)
    result = run(tmp_path)
    assert (result.exit_code, result.stderr) == (4, "sldtrace: not read: a.sld changed while it was read\n")
    assert "\nLIVELOCK: " in result.stdout


def test_records_that_need_zstd_are_missing_and_the_status_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file or a directory: an empty report with status 0 would say that nothing was found."""
    path = tmp_path / "a.sld"
    with Writer(path, samples.FACTS, encoder=Encoder(Codec.ZSTD)) as out:
        out.append("trap", samples.plain("trap", 300, 0))
        out.close(samples.CLOSING)
    assert run(path).exit_code == run(tmp_path).exit_code == 0
    monkeypatch.setattr(encoding, "_zstandard", lambda: None)
    for where in (path, tmp_path):
        found = run(where)
        assert found.exit_code == EXIT_UNREADABLE
        assert "300 trap records not read: they are compressed by zstd" in " ".join(found.output.split())
