"""`sldtrace check`: its status, its output, with and without root."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

import sldtrace
from sldtrace.checks import verdict
from sldtrace.checks.exposure import Exposure
from sldtrace.checks.result import Check, Places, State
from sldtrace.checks.verdict import Result
from sldtrace.commands.check import check
from sldtrace.errors import SldtraceError
from tools import json_schemas

FOREIGN = Check("hypervisor module", State.PROBLEM, "module mine")


def answers(
    monkeypatch: pytest.MonkeyPatch, exposure: Exposure, recordable: bool | None, *more: Check
) -> None:
    groups = {"Recording": list(more)}
    monkeypatch.setattr(
        verdict, "run", lambda places: Result(exposure, "because", recordable, groups, "Debian")
    )


@pytest.mark.parametrize(
    ("exposure", "recordable", "more", "fail_on", "status"),
    [
        (Exposure.FREEZES, False, [FOREIGN], [], 0),
        (Exposure.FREEZES, True, [], ["exposed"], 3),
        (Exposure.KILLS, True, [], ["exposed"], 3),
        (Exposure.NONE, True, [], ["exposed"], 0),
        (Exposure.NONE, False, [], ["exposed"], 0),
        (Exposure.NONE, False, [], ["unrecordable"], 3),
        (Exposure.FREEZES, None, [], ["unrecordable"], 5),
        (Exposure.FREEZES, None, [], ["unrecordable", "exposed"], 3),
        (Exposure.FREEZES, None, [], [], 0),
        (Exposure.UNKNOWN, True, [], ["exposed"], 5),
        (Exposure.UNKNOWN, True, [], ["unrecordable"], 0),
        (Exposure.FREEZES, True, [], ["unrecordable"], 0),
        (Exposure.NONE, True, [FOREIGN], ["hypervisor"], 3),
        (Exposure.NONE, True, [], ["hypervisor"], 0),
        (Exposure.FREEZES, True, [], ["hypervisor", "exposed"], 3),
    ],
)
@pytest.mark.parametrize("form", [[], ["--format=json"]])
def test_status(
    exposure: Exposure,
    recordable: bool | None,
    more: list[Check],
    fail_on: list[str],
    status: int,
    form: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers(monkeypatch, exposure, recordable, *more)
    options = [word for name in fail_on for word in ("--fail-on", name)]
    done = CliRunner().invoke(check, [*form, *options])
    assert done.exit_code == status
    assert "because" in done.output


def test_an_error_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(places: Places) -> Result:
        raise SldtraceError("/proc/cpuinfo cannot be read")

    monkeypatch.setattr(verdict, "run", fail)
    done = CliRunner().invoke(check, [])
    assert isinstance(done.exception, SldtraceError)
    assert done.output == ""


def python(code: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(Path(sldtrace.__file__).parents[1])}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_on_this_host() -> None:
    done = python("from sldtrace.cli import run; run(['check', '--format=json'])")
    assert (done.returncode, done.stderr) == (0, "")
    content = json.loads(done.stdout)
    assert Draft202012Validator(json_schemas.made()["check"]).is_valid(content)
    assert content["exposure"] in ("freezes", "kills", "none", "unknown")
    assert {check["group"] for check in content["checks"]} == {
        "exposure",
        "virtual machines",
        "cores",
        "other hypervisors",
        "recording",
    }


def test_needs_neither_pandas_nor_numpy() -> None:
    """It is what one runs to find out what is missing."""
    code = (
        "import sys\n"
        "for name in ('pandas', 'numpy'): sys.modules[name] = None\n"
        "from sldtrace.cli import run\n"
        "run(['check'])\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert "numpy cannot be imported" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_without_root_it_says_what_it_could_not_see() -> None:
    """Root is dropped when all is imported: the checkout need not be readable for others."""
    code = (
        "import os, numpy, encodings.ascii\n"
        "import sldtrace.commands.check, sldtrace.checks.verdict\n"
        "import sldtrace.reporters.check, sldtrace.reporters.formats\n"
        "from sldtrace.cli import run\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "run(['check'])\n"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert "PROBLEM privilege " in done.stdout
    assert "Unknown: " in done.stdout
    assert "do: run sldtrace check as root" in done.stdout
