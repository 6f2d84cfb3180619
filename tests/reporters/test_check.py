"""How the result of the checks is shown."""

import json

import pytest

from sldtrace.checks.exposure import Exposure
from sldtrace.checks.result import Check, Fix, State
from sldtrace.checks.verdict import Result
from sldtrace.reporters import check as reporter
from sldtrace.reporters.style import Style

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
        (Exposure.FREEZES, True, "EXPOSED: a split lock", "It can be recorded here."),
        (Exposure.FREEZES, False, "EXPOSED, BUT NOT RECORDABLE HERE: ", "It cannot be recorded here"),
        (Exposure.FREEZES, None, "EXPOSED: ", "was not seen"),
        (Exposure.NONE, False, "NOT EXPOSED: ", "A recording would not work here either"),
    ],
)
def test_the_verdict_comes_first(
    exposure: Exposure, recordable: bool | None, first: str, second: str
) -> None:
    lines = reporter.render(result(exposure, recordable), Style(100)).splitlines()
    assert lines[0].startswith(first)
    assert second in lines[1]


def test_what_was_not_seen_comes_last() -> None:
    text = reporter.render(result(), Style(80))
    assert text.split("\n\n")[-1].startswith("Not seen: cores.")


def test_it_fits_but_commands_stay_whole() -> None:
    lines = reporter.render(result(), Style(80)).splitlines()
    assert max(map(len, lines)) <= 80
    assert "do: apt install python3-bpfcc" in "\n".join(lines)


def test_colour_only_where_asked_for() -> None:
    assert "\x1b" not in reporter.render(result(), Style(80))
    assert "\x1b[31;1mPROBLEM" in reporter.render(result(), Style(80, colour=True))


@pytest.mark.parametrize("colour", [False, True])
def test_names_of_tenants_do_nothing_to_the_terminal(colour: bool) -> None:
    text = reporter.render(result(name=HOSTILE), Style(80, colour))
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
    assert "\x07" not in text
    assert not any(line.startswith("01") for line in text.splitlines())
    assert reporter.as_json(result(name=HOSTILE)).isascii()


def test_json() -> None:
    content = json.loads(reporter.as_json(result(recordable=None)))
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
