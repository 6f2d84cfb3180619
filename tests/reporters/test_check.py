"""How the result of the checks is shown."""

import json

import pytest
from jsonschema import Draft202012Validator

from sldtrace.checks.exposure import Exposure
from sldtrace.checks.result import Check, Fix, State
from sldtrace.checks.verdict import Result
from sldtrace.reporters import check as reporter
from tests.reporters.rendering import as_json, as_text
from tools import json_schemas

HOSTILE = "web\x1b[2J\n01\u202e\x07 EXPOSED"


def result(
    exposure: Exposure = Exposure.FREEZES, recordable: bool | None = True, name: str = "web01"
) -> Result:
    checks = [
        Check("vm", State.NOTE, f"VM {name}: 2 vCPUs", (Fix(f"look at {name}", "no cost"),), {"name": name}),
        Check("cores", State.UNKNOWN, "unread " * 40),
        Check("bcc", State.PROBLEM, "missing", (Fix("apt install python3-bpfcc"),)),
    ]
    groups = {"Virtual machines": checks, "Recording": [checks[2]]}
    return Result(exposure, "a split lock freezes a vCPU", recordable, groups, "Debian")


@pytest.mark.parametrize(
    ("exposure", "recordable", "first", "second"),
    [
        (Exposure.FREEZES, True, "EXPOSED: a split lock", "sldtrace record works here."),
        (Exposure.FREEZES, False, "EXPOSED, BUT NOT RECORDABLE HERE: ", "sldtrace record does not work here"),
        (Exposure.FREEZES, None, "EXPOSED: ", "It is unknown whether"),
        (Exposure.NONE, False, "NOT EXPOSED: ", "sldtrace record does not work here"),
    ],
)
def test_the_verdict_comes_first(
    exposure: Exposure, recordable: bool | None, first: str, second: str
) -> None:
    lines = as_text(reporter.build(result(exposure, recordable)), 100).splitlines()
    assert lines[0].startswith(first)
    assert second in lines[1]


def test_what_is_unknown_comes_last() -> None:
    text = as_text(reporter.build(result()), 80)
    assert text.split("\n\n")[-1].startswith("Unknown: cores.")


def test_it_fits_but_commands_stay_whole() -> None:
    lines = as_text(reporter.build(result()), 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert "do: apt install python3-bpfcc" in "\n".join(lines)


def test_colour_only_where_asked_for() -> None:
    assert "\x1b" not in as_text(reporter.build(result()), 80)
    assert "\x1b[31;1mPROBLEM" in as_text(reporter.build(result()), 80, colour=True)


@pytest.mark.parametrize("colour", [False, True])
def test_names_of_tenants_do_nothing_to_the_terminal(colour: bool) -> None:
    text = as_text(reporter.build(result(name=HOSTILE)), 80, colour)
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
    assert "\x07" not in text
    assert not any(line.startswith("01") for line in text.splitlines())
    assert as_json(reporter.build(result(name=HOSTILE))).isascii()


def test_json() -> None:
    content = json.loads(as_json(reporter.build(result(recordable=None))))
    assert Draft202012Validator(json_schemas.made()["check"]).is_valid(content)
    assert content["version"] == 1
    assert content["verdict"] == "exposed, recordability unknown"
    assert (content["exposure"], content["recordable"], content["system"]) == ("freezes", None, "Debian")
    assert content["checks"][0] == {
        "group": "virtual machines",
        "name": "vm",
        "state": "note",
        "text": "VM web01: 2 vCPUs",
        "fixes": [{"do": "look at web01", "cost": "no cost"}],
        "data": {"name": "web01"},
    }
