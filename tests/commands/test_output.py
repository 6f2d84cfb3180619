"""`--format` and `-o`: where a report goes, and that a file is all of it or what it was before."""

import json
import os
import stat
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sldtrace.commands import output as outputs
from sldtrace.commands.report import report
from sldtrace.errors import SldtraceError
from tests.analyzers.synthetic import loop, write


@click.command()
@outputs.options("text", "json", "csv")
def echo(form: str, output: Path | None) -> None:
    """Writes the format's name."""
    outputs.check(output)
    outputs.write(f"{form}\n", output)


def run(*arguments: object) -> str:
    done = CliRunner().invoke(echo, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_the_first_format_is_the_default() -> None:
    assert run() == run("-o", "-") == "text\n"
    assert run("--format", "csv") == "csv\n"


def test_another_format_is_a_usage_error() -> None:
    done = CliRunner().invoke(echo, ["--format", "html"])
    assert done.exit_code == 2
    assert "'text', 'json', 'csv'" in done.output


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert run("-o", path) == ""
    assert path.read_text() == "text\n"
    assert run("--output", path, "--format", "json") == ""
    assert path.read_text() == "json\n"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_mode_and_link_are_kept(tmp_path: Path) -> None:
    path, link = tmp_path / "a.txt", tmp_path / "link"
    path.write_text("long before")
    path.chmod(0o640)
    link.symlink_to(path)
    run("-o", link)
    assert link.is_symlink()
    assert path.read_text() == "text\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_device_stays_one(tmp_path: Path) -> None:
    run("-o", "/dev/null")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_file_that_cannot_be_written_is_one_line_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(SldtraceError, match=r"none/a cannot be written: No such file or directory; take"):
        run("-o", tmp_path / "none" / "a")
    with pytest.raises(SldtraceError, match=r"a\\nb/c cannot be written"):
        run("-o", tmp_path / "a\nb" / "c")


def test_an_error_while_writing_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail() -> None:
        with outputs.replacing(path, "-o") as beside:
            beside.write_text("half")
            raise OSError(5, "x")

    with pytest.raises(SldtraceError, match="cannot be written: x"):
        fail()
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_report_in_a_file_is_the_one_on_standard_output(form: str, tmp_path: Path) -> None:
    recording = write(tmp_path / "a.sld", loop(200))
    path = tmp_path / "report"
    arguments = [str(recording), "--format", form]
    done = CliRunner().invoke(report, [*arguments, "-o", str(path)])
    assert (done.exit_code, done.output) == (0, "")
    printed = CliRunner(env={"COLUMNS": "100"}).invoke(report, arguments).output
    assert path.read_text() == printed
    if form == "json":
        assert json.loads(printed)["version"] == 1
