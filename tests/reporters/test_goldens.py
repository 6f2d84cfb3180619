"""The reports as they are kept in data/; `python -m tests.reporters.cases` writes them again."""

import json
from pathlib import Path

import pytest

from sldtrace.analyzers.findings import catalogue
from tests.reporters import cases


@pytest.mark.parametrize("name", cases.CASES)
def test_report_is_the_one_that_is_kept(name: str, tmp_path: Path) -> None:
    for ending, text in cases.reports(cases.CASES[name](tmp_path)).items():
        kept = (cases.DATA / f"{name}.{ending}").read_text(encoding="utf-8")
        assert text == kept, f"{name}.{ending} has changed; is it as it should be?"


def test_every_kind_of_finding_is_in_a_kept_recording_of_the_lab_or_marked_as_simulated() -> None:
    kinds = {"lab": set(), "simulated": set()}
    for path in cases.DATA.glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if path.name.startswith("lab-") or content["simulated"]:
            origin = "simulated" if content["simulated"] else "lab"
            kinds[origin] |= {finding["kind"] for finding in content["findings"]}
    every = {analyzer.KIND for analyzer in catalogue.ANALYZERS}
    assert kinds["lab"] == every - {"bus-lock"}
    assert "bus-lock" in kinds["simulated"]


def test_nothing_else_is_kept() -> None:
    recorded = {f"{name}.sld" for names in cases.FROM_LAB.values() for name in names}
    assert {path.name for path in cases.RECORDINGS.iterdir()} == recorded
    expected = {f"{name}.{ending}" for name in cases.CASES for ending in ("txt", "json")}
    assert {path.name for path in cases.DATA.iterdir()} == expected


@pytest.mark.parametrize(
    ("name", "headline", "verdicts"),
    [
        ("livelock", "LIVELOCK: vCPU 0 of VM web01 (qemu, PID 200, TID 201) ", ["livelock", "slowed"]),
        ("bystanders", "SLOWED: ", ["slowed"]),
        ("phases", "LIVELOCK: ", ["livelock"]),
        ("locks", "LOCK HELD: ", ["lock held", "bus locks", "lock held", "guest's own #AC"]),
        ("storm", "TOGGLE STORM: ", ["toggle storm", "slowed"]),
        ("amd", "NOTHING FOUND: ", []),
        ("semaphore", "SIMULATED: ", ["livelock", "livelock", "slowed", "slowed"]),
        ("program", "SIMULATED: ", ["livelock"]),
        ("fatal", "SIMULATED: ", ["killed"]),
        ("migration", "SIMULATED: ", ["punished for nothing"]),
        ("queue", "SIMULATED: ", ["queue"]),
        ("slowed", "SIMULATED: ", ["slowed"]),
        ("left-off", "SIMULATED: ", ["detection left off"]),
        ("bus-lock", "SIMULATED: ", ["bus locks"]),
        ("lab-early-return-loop", "LIVELOCK: ", ["livelock"]),
        ("lab-user-space-split-lock", "LIVELOCK: ", ["livelock"]),
        ("lab-semaphore-early-return", "HELD UP: ", ["held up", "queue"]),
        ("lab-migration-defeat", "PUNISHED FOR NOTHING: ", ["punished for nothing"]),
        ("lab-semaphore-queue", "QUEUE: ", ["queue"]),
        ("lab-penalty-slowdown", "SLOWED: ", ["slowed"]),
        ("lab-lock-hold", "LOCK HELD: ", ["lock held"]),
        ("lab-detection-left-off", "DETECTION LEFT OFF: ", ["detection left off"]),
        ("lab-real-time", "DETECTION LEFT OFF: ", ["detection left off"]),
        ("lab-toggle-storm", "TOGGLE STORM: ", ["toggle storm"]),
        ("lab-guest-ac", "GUEST'S OWN #AC: ", ["guest's own #AC"]),
        ("lab-fatal", "KILLED: ", ["killed"]),
        ("lab-nothing", "NOTHING FOUND: ", []),
        ("losses", "HELD UP: a thread of a process (PID 200, TID 201) ", ["held up"]),
    ],
)
def test_the_kept_reports_say_what_their_recordings_hold(
    name: str, headline: str, verdicts: list[str]
) -> None:
    """So that a report which is wrong is not kept by mistake."""
    assert (cases.DATA / f"{name}.txt").read_text(encoding="utf-8").startswith(headline)
    content = json.loads((cases.DATA / f"{name}.json").read_text(encoding="utf-8"))
    assert [finding["verdict"] for finding in content["findings"]] == verdicts
    lost = {
        (loss["kind"], loss["cause"], loss["cpu"]): loss["count"] for loss in content["recording"]["losses"]
    }
    assert lost == (
        {("trap", "ring_full", 0): 1200, ("trap", "unfinished", 1): 1, ("task", "ring_full", 1): 7}
        if name == "losses"
        else {}
    )
    assert (content["recording"]["closing"] is None) == (name == "losses")
