"""The systemd unit: what systemd thinks of it, and where it is written."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from sldtrace import resources
from sldtrace.commands import service
from sldtrace.errors import SldtraceError
from sldtrace.text.escape import escape


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host where sldtrace lies in tmp_path/bin, with a systemctl that logs its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sldtrace", ""), ("systemctl", f'echo "$@" >> {tmp_path}/calls\n')):
        (folder / name).write_text(f"#!/bin/sh\n{text}")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(folder / "sldtrace")])
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(service, "FOLDER", tmp_path / "units")
    monkeypatch.setattr(service, "PACKAGED", tmp_path / "packaged" / service.NAME)
    (tmp_path / "units").mkdir()
    return tmp_path


def run(*arguments: str) -> None:
    result = CliRunner().invoke(service.service, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output


def options(text: str) -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser["Service"]


def test_systemd_understands_every_line(installed: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    (installed / service.NAME).write_text(service.unit())
    verify = ["systemd-analyze", "verify", "--man=no", str(installed / service.NAME)]
    result = subprocess.run(verify, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_what_recording_needs_is_not_taken_away(installed: Path) -> None:
    found = options(service.unit())
    assert found["Type"] == "notify"
    assert found["ExecStart"].startswith(f"{installed}/bin/sldtrace record --output ${{STATE_DIRECTORY}}/")
    wanted = {"CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYSLOG"}
    assert set(found["CapabilityBoundingSet"].split()) == wanted
    assert {"bpf", "perf_event_open", "@system-service"} == set(found["SystemCallFilter"].split())
    for name in ("ProtectKernelTunables", "ProtectKernelLogs", "MemoryDenyWriteExecute", "PrivateUsers"):
        assert found[name] == "no"
    assert "kallsyms" not in found["ReadOnlyPaths"] + found["InaccessiblePaths"]
    assert found["ProcSubset"] == "all"


def test_every_option_is_named_once() -> None:
    text = (resources.systemd() / service.NAME).read_text()
    names = re.findall(r"^(\w+)=", text, re.MULTILINE)
    assert len(names) == len(set(names))


def test_print_install_and_remove(installed: Path) -> None:
    path = installed / "units" / service.NAME
    run("install")
    assert path.read_text() == service.unit()
    assert path.stat().st_mode & 0o777 == 0o644
    run("install")  # the same again is no change
    path.write_text("changed by hand")
    with pytest.raises(SldtraceError, match="exists and is different; use --force"):
        CliRunner().invoke(service.service, ["install"], catch_exceptions=False)
    assert path.read_text() == "changed by hand"
    run("install", "--force")
    run("remove")
    assert list((installed / "units").iterdir()) == []
    calls = (installed / "calls").read_text().splitlines()
    assert calls == ["daemon-reload"] * 3 + [f"disable --now {service.NAME}", "daemon-reload"]
    with pytest.raises(SldtraceError, match="nothing to remove"):
        CliRunner().invoke(service.service, ["remove"], catch_exceptions=False)


def test_the_unit_of_a_package_is_used_not_hidden(installed: Path) -> None:
    service.PACKAGED.parent.mkdir()
    service.PACKAGED.write_text("of the package")
    for command, hint in (("install", "use it: systemctl enable"), ("remove", "or remove the package")):
        with pytest.raises(SldtraceError, match=hint):
            CliRunner().invoke(service.service, [command], catch_exceptions=False)
    assert list((installed / "units").iterdir()) == []
    run("install", "--force")
    run("remove")
    assert service.PACKAGED.read_text() == "of the package"


def test_a_host_without_systemd(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(installed))
    with pytest.raises(SldtraceError, match="has no systemd"):
        CliRunner().invoke(service.service, ["install"], catch_exceptions=False)


@pytest.mark.parametrize("name", ["a b", "50%", "$HOME", "a\nb", "quote'd"])
def test_a_folder_that_systemd_would_read_as_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    program = tmp_path / name / "sldtrace"
    program.parent.mkdir()
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    with pytest.raises(
        SldtraceError, match="install sldtrace in a folder without special characters"
    ) as caught:
        service.unit()
    assert escape(str(program)) in str(caught.value)
