"""`sldtrace probe`: on this machine, and its status for each verdict."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from sldtrace.commands.probe import probe
from sldtrace.errors import EXIT_FINDING, EXIT_UNKNOWN
from sldtrace.litmus import measure
from sldtrace.litmus.run import End, Outcome
from sldtrace.litmus.verdict import Result, judge
from tests.litmus.test_verdict import MS, NONE, WARN, machine, outcome
from tools import json_schemas

FROZEN = judge(machine(), outcome([14.0] * 50), Outcome([], End.STUCK, 0.0, 300 * MS))
RESULTS = {
    "frozen": FROZEN,
    "frozen VM": judge(machine(in_vm=True), outcome([14.0] * 50), Outcome([], End.STUCK, 0.0, 300 * MS)),
    "own": judge(machine(), outcome([14.0] * 50)),
    "outside": judge(machine(NONE, guest=True), outcome([11.1] * 50)),
    "none": judge(machine(NONE), outcome([0.002] * 50)),
    "fatal": judge(machine(WARN), outcome([], end=End.KILLED)),
    "unclear": judge(machine(NONE), outcome([11.1] * 50)),
}


def use(monkeypatch: pytest.MonkeyPatch, result: Result) -> list[tuple[int, bool, bool]]:
    asked: list[tuple[int, bool, bool]] = []

    def made_up(locks: int, livelock: bool, in_vm: bool) -> Result:
        asked.append((locks, livelock, in_vm))
        return result

    monkeypatch.setattr(measure, "measure", made_up)
    return asked


def test_this_machine() -> None:
    """Whatever it is: the answer follows the schema, and 50 split locks are the most."""
    command = [sys.executable, "-m", "sldtrace", "probe", "--livelock", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, EXIT_UNKNOWN)
    said = json.loads(done.stdout)
    Draft202012Validator(json_schemas.schema(json_schemas.CONTENTS["probe"])).validate(said)
    if said["split"]:
        assert 1 <= said["split"]["count"] <= 50
        assert said["aligned"]["count"] >= said["split"]["count"]


@pytest.mark.parametrize(
    ("name", "fail_on", "status"),
    [
        ("own", [], 0),
        ("own", ["penalty"], EXIT_FINDING),
        ("own", ["fatal"], 0),
        ("outside", ["penalty"], EXIT_FINDING),
        ("none", ["penalty", "fatal", "livelock"], 0),
        ("frozen", ["livelock"], EXIT_FINDING),
        ("fatal", ["fatal"], EXIT_FINDING),
        ("fatal", ["penalty"], 0),
        ("unclear", [], EXIT_UNKNOWN),
        ("unclear", ["penalty"], EXIT_UNKNOWN),
    ],
)
def test_status(name: str, fail_on: list[str], status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = use(monkeypatch, RESULTS[name])
    done = CliRunner().invoke(probe, [word for each in fail_on for word in ("--fail-on", each)])
    assert done.exit_code == status
    assert asked == [(50, "livelock" in fail_on, False)]


def test_fewer_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = use(monkeypatch, RESULTS["none"])
    assert CliRunner().invoke(probe, ["--locks", "5"]).exit_code == 0
    assert asked == [(5, False, False)]


def test_in_a_vm(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = use(monkeypatch, RESULTS["frozen VM"])
    done = CliRunner().invoke(probe, ["--vm", "--fail-on", "livelock"])
    assert done.exit_code == EXIT_FINDING
    assert asked == [(50, True, True)]
    assert done.output.startswith("PENALTY FROM OUTSIDE: a split lock that traps costs 14 ms in a VM here")
    assert "LIVELOCK: a VM with a 1 ms timer does not get past a split lock" in done.output
    assert "the locks are executed in a VM on it" in done.output
