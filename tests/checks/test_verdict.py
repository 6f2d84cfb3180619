"""What the checks come to."""

import pytest

from sldtrace.checks import verdict
from sldtrace.checks.exposure import Exposure
from sldtrace.checks.result import Check, Fix, Places, State
from sldtrace.checks.verdict import RECORDING, Result


def result(exposure: Exposure, recordable: bool | None, *recording: Check) -> Result:
    return Result(exposure, "because", recordable, {RECORDING: list(recording)}, "Debian")


@pytest.mark.parametrize(
    ("exposure", "recordable", "said", "exposed"),
    [
        (Exposure.NONE, True, "not exposed", False),
        (Exposure.NONE, False, "not exposed", False),
        (Exposure.FREEZES, True, "exposed", True),
        (Exposure.FREEZES, False, "exposed but not recordable here", True),
        (Exposure.FREEZES, None, "exposed, recordability unknown", True),
        (Exposure.KILLS, True, "exposed", True),
    ],
)
def test_verdict(exposure: Exposure, recordable: bool | None, said: str, exposed: bool) -> None:
    found = result(exposure, recordable)
    assert (found.verdict, found.exposed) == (said, exposed)


def bad(name: str) -> Check:
    return Check(name, State.PROBLEM, "it lacks", (Fix(f"mend {name}"), Fix("or so")))


@pytest.mark.parametrize(
    ("names", "privileged", "expected"),
    [
        ([], True, True),
        (["bcc"], True, False),
        (["privilege"], False, None),
        (["privilege", "tracefs"], False, None),
        (["privilege", "bcc"], False, False),
    ],
)
def test_recordable(names: list[str], privileged: bool, expected: bool | None) -> None:
    limits = [Check("probes", State.LIMIT, ""), Check("bpf", State.UNKNOWN, "")]
    assert verdict.recordable([*limits, *map(bad, names)], privileged) is expected


def test_what_to_do_first() -> None:
    assert verdict.next_steps(result(Exposure.NONE, False, bad("bcc"))) == []
    mend = verdict.next_steps(result(Exposure.FREEZES, False, bad("bcc"), bad("bpf")))
    assert [fix.do for fix in mend] == ["mend bcc", "mend bpf"]
    assert "record" in verdict.next_steps(result(Exposure.FREEZES, True))[0].do
    assert "root" in verdict.next_steps(result(Exposure.FREEZES, None))[0].do


def test_this_host() -> None:
    """Whatever host this is: every check has a name and words, and no name is used for two things."""
    found = verdict.run(Places())
    assert list(found.groups) == [
        "Exposure",
        "Virtual machines",
        "Cores",
        "Other hypervisors",
        "Recording",
    ]
    assert all(checks for checks in found.groups.values())
    assert all(check.text for check in found.checks)
