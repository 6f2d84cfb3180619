"""`sldtrace export`: where it writes, what it refuses, and what it says is left out."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sldtrace.commands import export as module
from sldtrace.dataset import trace as traces
from sldtrace.errors import SldtraceError, UsageError
from tests.analyzers.synthetic import MS, START_NS, loop, signalled, write
from tests.recording.rotated import rotate


def run(*arguments: object) -> Result:
    return CliRunner().invoke(module.export, [str(each) for each in arguments])


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    sent = [signalled(index * MS) for index in range(5)]
    return write(tmp_path / "a.sld", loop(200), more={"signal": sent})


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_folder_is_written_whole_or_not_at_all(form: str, recording: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert run("--format", form, "-o", target, recording).exit_code == 0
    assert {path.name for path in target.iterdir()} >= {f"trap.{form}", f"signal.{form}", "recording.json"}
    again = run("--format", form, "-o", target, recording)
    assert isinstance(again.exception, SldtraceError)
    assert "is no empty directory" in str(again.exception)
    assert not list(tmp_path.glob(".out*"))


def test_an_empty_folder_is_taken(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert run("--format", "csv", "-o", tmp_path / "out", recording).exit_code == 0
    assert (tmp_path / "out" / "trap.csv").exists()


def test_lines_go_to_standard_output_too(recording: Path, tmp_path: Path) -> None:
    shown = run("--format", "jsonl", "--kind", "trap", "-o", "-", recording)
    run("--format", "jsonl", "--kind", "trap", "-o", tmp_path / "out", recording)
    assert shown.stdout == (tmp_path / "out").read_text()
    assert [json.loads(line)["record"] for line in shown.stdout.splitlines()] == [
        "recording",
        *["trap"] * 200,
    ]


def test_what_is_left_out_is_said(recording: Path, tmp_path: Path) -> None:
    done = run("--format", "perfetto", "-o", tmp_path / "out", recording)
    assert done.stderr == "sldtrace: not in this output: 5 signal records\n"
    assert (tmp_path / "out").stat().st_size > 10_000
    assert run("--format", "csv", "-o", tmp_path / "csv", recording).stderr == ""


def test_the_files_of_one_boot_are_one_recording(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    whole = traces.load(write(tmp_path / "a.sld", loop(200)))
    rotate(whole.recording, folder / "a.sld", [START_NS + 50 * MS])
    done = run("--format", "jsonl", "--kind", "trap", "-o", "-", folder)
    assert json.loads(done.stdout.splitlines()[0])["records"] == {"trap": 200}
    assert done.stdout.count("\n") == 201


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "csv", "-o", "-"), "writes a directory"),
        (("--format", "perfetto", "-o", "x", "--kind", "trap"), "not for perfetto"),
        (("--format", "jsonl", "-o", "-", "--kind", "wrong"), "there is no record kind wrong"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    arguments: tuple[str, ...], said: str, recording: Path
) -> None:
    done = run(*arguments, recording)
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)


def test_without_pyarrow_one_line_says_what_to_install(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run("--format", "parquet", "-o", tmp_path / "out", recording)
    assert "needs pyarrow, which is not installed; pip install" in str(done.exception)
    assert not (tmp_path / "out").exists()
