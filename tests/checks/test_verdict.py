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
    limits = [Check("probes", State.LIMIT, ""), Check("trial", State.OK, "")]
    assert verdict.recordable([*limits, *map(bad, names)], privileged) is expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [(State.OK, True), (State.LIMIT, True), (State.UNKNOWN, None), (State.PROBLEM, False)],
)
def test_only_what_was_tried_works(state: State, expected: bool | None) -> None:
    assert verdict.recordable([Check("bcc", State.OK, ""), Check("trial", state, "")], True) is expected
    assert verdict.recordable([Check("bcc", State.OK, "")], True) is None


def test_what_is_unknown_is_no_condition_that_does_not_hold() -> None:
    assert result(Exposure.UNKNOWN, None).unknown == {"exposed", "unrecordable"}
    assert result(Exposure.NONE, True).unknown == set()
    unread = Check("other modules", State.UNKNOWN, "", (), {"not_read": [{"name": "x", "error": "y"}]})
    assert result(Exposure.NONE, True, unread).unknown == {"hypervisor"}


def test_a_guest_asks_its_host() -> None:
    found = result(Exposure.UNKNOWN, None)
    assert (found.verdict, found.exposed) == ("a guest, its host decides", False)
    measured, *asked = verdict.next_steps(found)
    assert measured.do == "sldtrace probe"
    assert all("on this guest's host" in fix.do for fix in asked)


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
