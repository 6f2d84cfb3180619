"""`sldtrace log` as it is called: the reports that are kept, every status, what cannot be read."""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

import sldtrace
from sldtrace import cli
from sldtrace.commands import log as module
from sldtrace.errors import EXIT_ERROR, EXIT_FINDING, EXIT_OK, EXIT_UNKNOWN, EXIT_UNREADABLE
from tests.analyzers.synthetic import VCPU, loop, task, write
from tools import json_schemas

DATA = Path(__file__).parents[1] / "kernlog" / "data"
ROOT = Path(sldtrace.__file__).parents[1]
LINE = "x86/split lock detection: #AC: CPU 0/KVM/201 took a split_lock trap at address: 0x7c40\n"


@contextmanager
def standard_input(text: str) -> Iterator[None]:
    """The text comes from descriptor 0, as it does in a shell."""
    before = os.dup(0)
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        os.dup2(file.fileno(), 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def run(*arguments: object, stdin: str = "", columns: int = 80) -> Result:
    words = [str(argument) for argument in arguments]
    with standard_input(stdin):
        return CliRunner(env={"COLUMNS": str(columns)}).invoke(module.log, words)


def reports(name: str) -> dict[str, str]:
    """The reports of a kept log, by the ending of the file in which each is kept."""
    name = f"{name}.log"
    before = Path.cwd()
    os.chdir(DATA)
    try:
        found = {".txt": run(name), ".wide.txt": run(name, columns=120)}
        if name == "field-reports.log":  # of the other one the schema is enough
            found[".json"] = run(name, "--format=json")
    finally:
        os.chdir(before)
    status = EXIT_UNKNOWN if name == "kernel.log" else EXIT_OK  # it has a message of an unknown form
    assert all(result.exit_code == status for result in found.values()), found
    return {ending: result.output for ending, result in found.items()}


@pytest.mark.parametrize("name", ["field-reports", "kernel"])
def test_the_reports_are_as_they_are_kept(name: str) -> None:
    """`make goldens` writes them again; read the difference."""
    for ending, text in reports(name).items():
        kept = (DATA / name).with_suffix(ending).read_text(encoding="utf-8")
        assert text == kept, f"{name}{ending} has changed; is it as it should be?"


@pytest.mark.parametrize("name", ["field-reports", "kernel"])
def test_json_fits_the_schema(name: str) -> None:
    validator = Draft202012Validator(json_schemas.made()["log"])
    content = json.loads(run(DATA / f"{name}.log", "--format=json").output)
    assert [error.message for error in validator.iter_errors(content)] == []


@pytest.mark.parametrize("columns", [80, 100, 120])
@pytest.mark.parametrize("name", ["field-reports", "kernel"])
def test_reports_fit_the_terminal(name: str, columns: int) -> None:
    output = run(DATA / f"{name}.log", columns=columns).output.split("\nRead\n")[0]
    assert max(map(len, output.splitlines())) <= columns


def test_the_kept_reports_say_what_their_logs_hold() -> None:
    """So that a report which is wrong is not kept by mistake."""
    content = json.loads((DATA / "field-reports.json").read_text(encoding="utf-8"))
    lines = (DATA / "field-reports.log").read_text(encoding="utf-8").splitlines()
    assert content["lines"]["read"] == len(lines) == 26
    for thread in content["threads"]:
        assert f"{thread['comm']}/{thread['tid']}" in lines[thread["line"] - 1] or thread["kind"].endswith(
            "-call"
        )
        for each in thread["addresses"]:
            assert sum(each["address"] in line for line in lines) >= each["lines"]
    assert sum(thread["lines"] for thread in content["threads"]) == sum(" trap at " in x for x in lines) + 1


def test_standard_input_and_several_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(LINE)
    content = json.loads(run("--format=json", tmp_path / "a", "-", stdin=LINE.replace("201", "202")).output)
    assert [(thread["tid"], thread["line"]) for thread in content["threads"]] == [(201, 1), (202, 2)]
    assert [source["name"] for source in content["sources"]] == [str(tmp_path / "a"), "standard input"]


def test_beside_a_recording(tmp_path: Path) -> None:
    recording = write(tmp_path / "x.sld", loop(30), tasks=[task(VCPU, b"CPU 0/KVM")])
    arguments = ("--recording", recording, "-")
    text = run(*arguments, stdin=LINE + LINE.replace("201", "999")).output
    assert "1 logged thread trapped in the recording, 1 did not; 0 threads trapped and" in text.replace(
        "\n  ", " "
    )
    content = json.loads(run("--format=json", *arguments, stdin=LINE).output)
    assert Draft202012Validator(json_schemas.made()["log"]).is_valid(content)
    assert content["recording"]["pairs"] == [
        {"thread": 0, "tgid": 200, "tid": 201, "vm": None, "traps": 30, "when": "unknown", "same_name": True,
         "same_address": True}
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["\x1b[2Jx", "a\u202eb", "\x9b31m", "\u2028x", "'\"<b>", "\t\b\x7f"])
@pytest.mark.parametrize("columns", [80, 120])
def test_hostile_names(tmp_path: Path, name: str, columns: int) -> None:
    recording = write(tmp_path / "x.sld", loop(3), tasks=[task(VCPU, name.encode()[:15])])
    line = f"2026-06-13T15:27:19Z {name}h kernel: " + LINE.replace("CPU 0/KVM", name)
    stamped = f"{name} Mar 26 11:13:52 h kernel: " + LINE.replace("201", "77")
    log = (
        line
        + stamped
        + f"[  1.000000] Linux version 6.1{name} x\n[ 1.000000] x86/split lock detection: {name}\n"
    )
    for arguments in ([], ["--format=json"], ["--recording", recording]):
        output = run(*arguments, "-", stdin=log, columns=columns).output
        assert all(character == "\n" or character.isprintable() for character in output)
        assert "TID" in output or '"tid"' in output


KERNEL_LINE = "[    1.000000] usb 1-1: new device\n"
UNKNOWN = "[    2.000000] x86/split lock detection: a new form\n"


@pytest.mark.parametrize(
    ("log", "fail_on", "status"),
    [
        (LINE, None, EXIT_OK),
        (KERNEL_LINE, None, EXIT_OK),
        (KERNEL_LINE, "split-lock", EXIT_OK),
        (LINE, "bus-lock", EXIT_OK),
        (LINE, "guest-split-lock", EXIT_FINDING),
        (LINE + UNKNOWN, "split-lock", EXIT_FINDING),
        (LINE + UNKNOWN, None, EXIT_UNKNOWN),
        (UNKNOWN, "bus-lock", EXIT_UNKNOWN),
        ("hello\n", None, EXIT_UNKNOWN),
        ("", None, EXIT_UNKNOWN),
    ],
)
def test_exit_statuses(log: str, fail_on: str | None, status: int) -> None:
    for form in ("text", "json"):
        result = run("--format", form, *(["--fail-on", fail_on] if fail_on else []), "-", stdin=log)
        assert result.exit_code == status
    assert json.loads(result.output)["verdict"]["understood"] is (
        UNKNOWN not in log and log[:1] not in ("h", "")
    )


def test_a_damaged_file_is_named_and_the_rest_of_it_read(tmp_path: Path) -> None:
    (tmp_path / "kern.log.gz").write_bytes(gzip.compress((LINE * 99).encode())[:-8])
    result = run("--format=json", tmp_path / "kern.log.gz")
    assert result.exit_code == EXIT_UNREADABLE
    content = json.loads(result.stdout)
    assert content["threads"][0]["lines"] == 99
    assert "ends too early" in content["sources"][0]["damage"]
    assert "not read to its end" in result.stderr
    assert run("--fail-on=split-lock", tmp_path / "kern.log.gz").exit_code == EXIT_FINDING


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        cli.run(["log", *arguments])
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return int(ended.value.code or 0), said.err


@pytest.mark.parametrize("form", [(), ("--format=json",)])
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: tuple[str, ...]
) -> None:
    (tmp_path / "log").write_text(LINE)
    log = str(tmp_path / "log")
    assert refused(capsys, *form, str(tmp_path / "none"))[0] == EXIT_ERROR
    assert refused(capsys, *form, log, str(tmp_path / "none"))[0] == 1
    assert refused(capsys, *form, log, "--recording", str(tmp_path / "none"))[0] == 1
    status, said = refused(capsys, *form, log, "--recording", log)
    assert (status, "not an sldtrace recording" in said) == (1, True)


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(LINE.replace("201", str(tid)) for tid in range(3000)))
    command = f"{sys.executable} -m sldtrace log --format json {log} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr


def _write_again() -> None:
    for name in ("field-reports", "kernel"):
        for ending, text in reports(name).items():
            (DATA / name).with_suffix(ending).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _write_again()
