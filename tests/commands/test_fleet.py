"""`sldtrace fleet`: statuses, and what is one line."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sldtrace import cli
from sldtrace.commands import fleet as module
from tests.analyzers.synthetic import RIP
from tests.fleet import fleets


def run(*arguments: object) -> Result:
    return CliRunner().invoke(module.fleet, ["--jobs", "1", *(str(argument) for argument in arguments)])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int | str | None, str]:
    with pytest.raises(SystemExit) as ended:
        cli.run(["fleet", *(str(argument) for argument in arguments)])
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return ended.value.code, said.err


def test_a_directory_of_hosts(tmp_path: Path) -> None:
    fleets.fleet(tmp_path / "fleet", 4)
    result = run(tmp_path / "fleet")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("2 OF 4 HOSTS ARE AFFECTED: ")
    out = tmp_path / "out.json"
    assert run(tmp_path / "fleet", "--format", "json", "-o", out).stdout == ""
    assert json.loads(out.read_text())["hosts"] == 4


@pytest.mark.parametrize(("fail_on", "status"), [("notice", 3), ("warning", 3), ("critical", 0)])
def test_the_status_follows_the_worst_finding(fail_on: str, status: int, tmp_path: Path) -> None:
    fleets.host(tmp_path / "a.sld", 0)
    assert run(tmp_path, "--fail-on", fail_on).exit_code == status


def test_what_cannot_be_read_is_never_fine(tmp_path: Path) -> None:
    fleets.host(tmp_path / "a.sld", 1)
    (tmp_path / "b.sld").touch()
    result = run(tmp_path)
    assert result.exit_code == 4
    assert result.stderr == "sldtrace: 1 file could not be read; the output names them\n"
    assert "b.sld is empty" in " ".join(result.stdout.split())
    assert "NOT ALL WAS READ" in result.stdout
    fleets.host(tmp_path / "c.sld", 0)
    assert run(tmp_path, "--fail-on", "warning").exit_code == 3


@pytest.mark.parametrize("form", ["text", "json", "html"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_no_name_of_a_host_a_vm_or_a_file_is_in_a_redacted_output(
    form: str, jobs: int, tmp_path: Path
) -> None:
    for number in range(2):  # of one host
        fleets.host(tmp_path / f"s3cret-{number}.sld", 4 * number, "s3cret")
    fleets.host(tmp_path / "s3cret-9.sld", 0, "s3cret-other")
    (tmp_path / "s3cret-broken.sld").touch()
    arguments = ("--redact", "--jobs", jobs, "--format", form, tmp_path)
    result = CliRunner().invoke(module.fleet, [str(each) for each in arguments])
    plain = CliRunner().invoke(module.fleet, [str(each) for each in arguments[1:]])
    assert (result.exit_code, plain.exit_code) == (4, 4)
    for name in ("s3cret", "vm-000", str(tmp_path), f"{RIP:#x}", "qemu-system"):
        assert name in plain.stdout or form == "text"
        assert name not in result.stdout
    if form == "json":
        before, after = json.loads(plain.stdout), json.loads(result.stdout)
        assert (after["hosts"], after["lost_ns"]) == (2, before["lost_ns"])
        # The same name has the same number in every process, and in every list.
        hosts = {each["name"] for each in after["worst_hosts"]}
        assert len(hosts) == 2
        assert {each["host"] for each in after["vms"]} == hosts
        assert len({each["name"] for each in after["vms"]}) == 2
        assert len({each["rip"] for each in after["addresses"]}) == 1


def test_no_finding_in_incomplete_recordings_is_not_fine(tmp_path: Path) -> None:
    fleets.host(tmp_path / "a.sld", 1, ended={"ended_by": "error"})
    assert run(tmp_path).exit_code == 0
    assert run(tmp_path, "--fail-on", "critical").exit_code == 5
    fleets.host(tmp_path / "b.sld", 0)
    assert run(tmp_path, "--fail-on", "warning").exit_code == 3


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, tmp_path) == (
        1,
        f"sldtrace: there is no recording in {tmp_path}; name directories or URLs with files of sldtrace"
        " record\n",
    )
    (tmp_path / "a.sld").touch()
    status, line = refused(capsys, "--jobs", 1, tmp_path)
    assert (status, "a.sld is empty" in line) == (1, True)
    (tmp_path / "b.sld").touch()
    status, line = refused(capsys, "--jobs", 1, tmp_path)
    assert line.startswith("sldtrace: none of 2 files can be read; the first: ")
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refused(capsys, "--jobs", 1, tmp_path / "pipe")[1]
    assert "does not exist" in refused(capsys, "--jobs", 1, tmp_path / "none\x1b")[1]
    assert refused(capsys, "nothing://x")[0] == 1


def test_usage_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, line = refused(capsys, "--jobs", 2, "--scheduler", "tcp://x", tmp_path)
    assert (status, "exclude each other" in line) == (2, True)


def test_the_output_is_tried_before_anything_is_read(tmp_path: Path) -> None:
    result = run(tmp_path, "-o", tmp_path / "none/out")
    assert "cannot be written" in str(result.exception)


def test_the_number_of_processes_is_within_reason() -> None:
    assert module._jobs(None, 1000) == min(len(os.sched_getaffinity(0)), 64)
    assert module._jobs(8, 3) == 3
    assert module._jobs(None, 0) == 1


def test_there_is_a_bar_for_files_and_one_for_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Bar:
        def __init__(self, label: str, length: int) -> None:
            shown.append(f"{label} {length}")

        def __exit__(self, *_: object) -> None:
            shown.append("end")

        def update(self, steps: int) -> None:
            shown.append(f"+{steps}")

    monkeypatch.setattr(module, "Progress", Bar)
    fleets.fleet(tmp_path, 2)
    run(tmp_path)
    assert shown == ["files 2", "+2", "end", "hosts 2", "+1", "+1", "end"]
