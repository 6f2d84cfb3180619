"""The reports of all cases: the text of each, and the JSON of three, as they are kept (`make goldens`)."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sldtrace.analyzers.findings import catalogue
from sldtrace.reporters.json import plain
from tests.analyzers.findings.documented import provoked
from tests.reporters import cases
from tools import json_schemas

VALIDATOR = Draft202012Validator(json_schemas.made()["report"])


def content(name: str) -> dict[str, Any]:
    """What the JSON of a case holds."""
    made: dict[str, Any] = plain(cases.report(name).data)
    return made


@pytest.mark.parametrize("name", cases.CASES)
def test_report_is_the_one_that_is_kept(name: str) -> None:
    for file, text in cases.kept(name).items():
        kept = (cases.DATA / file).read_text(encoding="utf-8")
        assert text == kept, f"{file} has changed; is it as it should be?"


@pytest.mark.parametrize("name", cases.CASES)
def test_json_fits_the_schema(name: str) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(content(name))] == []


def test_every_kind_of_finding_is_in_a_kept_recording_of_the_lab_or_marked_as_simulated() -> None:
    kinds: dict[str, set[str]] = {"lab": set(), "simulated": set()}
    for name in cases.CASES:
        made = content(name)
        if name.startswith("lab-") or made["simulated"]:
            origin = "simulated" if made["simulated"] else "lab"
            kinds[origin] |= {finding["kind"] for finding in made["findings"]}
    every = {analyzer.kind for analyzer in catalogue.ANALYZERS}
    texts = provoked()
    assert texts.keys() == every
    assert kinds["lab"] == {kind for kind, text in texts.items() if not text.startswith("nothing")}
    assert kinds["simulated"] >= {kind for kind, text in texts.items() if "sldtrace simulate" in text}


def test_nothing_else_is_kept() -> None:
    recorded = {f"{name}.sld" for names in cases.FROM_LAB.values() for name in names}
    assert {path.name for path in cases.RECORDINGS.iterdir()} == recorded
    expected = {f"{name}.txt" for name in cases.CASES} | {f"{name}.json" for name in cases.JSON}
    assert {path.name for path in cases.DATA.iterdir()} == expected


@pytest.mark.parametrize(
    ("name", "headline", "verdicts"),
    [
        ("livelock", "LIVELOCK: vCPU 0 of VM web01 (qemu, PID 200, TID 201) ", ["livelock", "slowed"]),
        ("bystanders", "SLOWED (notice, no alarm): ", ["slowed"]),
        ("phases", "LIVELOCK: ", ["livelock", "slowed"]),
        ("locks", "LOCK HELD: ", ["lock held", "bus locks", "lock held", "guest's own #AC"]),
        ("storm", "TOGGLE STORM: ", ["toggle storm", "slowed"]),
        ("amd", "NOTHING FOUND: ", []),
        ("semaphore", "SIMULATED: ", ["livelock", "livelock", "slowed", "slowed"]),
        ("program", "SIMULATED: ", ["livelock"]),
        ("fatal", "SIMULATED: ", ["killed"]),
        ("migration", "SIMULATED: ", ["penalty wasted"]),
        ("queue", "SIMULATED: ", ["queue"]),
        ("slowed", "SIMULATED: ", ["slowed"]),
        ("left-off", "SIMULATED: ", ["detection left off"]),
        ("bus-lock", "SIMULATED: ", ["bus locks"]),
        ("lab-early-return-loop", "LIVELOCK: ", ["livelock"]),
        ("lab-user-space-split-lock", "LIVELOCK: ", ["livelock"]),
        ("lab-semaphore-early-return", "DELAYED: ", ["delayed", "queue"]),
        ("lab-migration-defeat", "PENALTY WASTED: ", ["penalty wasted"]),
        ("lab-semaphore-queue", "QUEUE: ", ["queue"]),
        ("lab-penalty-slowdown", "SLOWED: ", ["slowed"]),
        ("lab-lock-hold", "LOCK HELD (notice, no alarm): ", ["lock held"]),
        ("lab-detection-left-off", "DETECTION LEFT OFF (notice, no alarm): ", ["detection left off"]),
        ("lab-real-time", "DETECTION LEFT OFF (notice, no alarm): ", ["detection left off"]),
        ("lab-toggle-storm", "TOGGLE STORM: ", ["toggle storm"]),
        ("lab-guest-ac", "GUEST'S OWN #AC (notice, no alarm): ", ["guest's own #AC"]),
        ("lab-fatal", "KILLED: ", ["killed"]),
        ("lab-nothing", "NOTHING FOUND: ", []),
        ("losses", "DELAYED: a thread of a process (PID 200, TID 201) ", ["delayed"]),
    ],
)
def test_the_kept_reports_say_what_their_recordings_hold(
    name: str, headline: str, verdicts: list[str]
) -> None:
    """So that a report which is wrong is not kept by mistake."""
    text = (cases.DATA / f"{name}.txt").read_text(encoding="utf-8")
    assert text.startswith("SIMULATED: " if headline == "SIMULATED: " else "Split locks on ")
    assert text.count(f"\n{headline}") or headline == "SIMULATED: "
    made = content(name)
    assert {each["verdict"] for each in made["summary"]} == set(verdicts)
    assert [finding["verdict"] for finding in made["findings"]] == verdicts
    lost = {(loss["kind"], loss["cause"], loss["cpu"]): loss["count"] for loss in made["recording"]["losses"]}
    assert lost == (
        {("trap", "ring_full", 0): 1200, ("trap", "unfinished", 1): 1, ("task", "ring_full", 1): 7}
        if name == "losses"
        else {}
    )
    assert (made["recording"]["closing"] is None) == (name == "losses")
