"""What a recording lacks is said, analyzer by analyzer, and never taken for a clean bill."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace.analyzers import limitations, needs
from sldtrace.analyzers.findings import catalogue
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset.trace import Trace
from tests.analyzers.simulated import simulated
from tests.analyzers.synthetic import MS, completed, counted, facts, loop, step, trace


def reasons(recorded: Trace) -> dict[str, str]:
    return {each.kind: each.reason for each in catalogue.not_evaluated(recorded)}


def refused(*names: str) -> dict[str, Any]:
    return {**facts(), "probes": [{"name": name, "backend": "", "detail": "refused"} for name in names]}


def test_a_recording_can_have_all_that_is_needed(tmp_path: Path) -> None:
    recorded = trace(tmp_path, [completed(0)])
    for analyzer in catalogue.ANALYZERS:
        assert set(analyzer.needs.records) <= set(recorded.recording.schema.records)
        assert analyzer.title


@pytest.mark.parametrize(
    ("probe", "kinds"),
    [
        ("down_interruptible", {"semaphore-early-return", "semaphore-queue"}),
        ("sched:sched_migrate_task", {"migration-defeat"}),
        ("msr:write_msr", {"detection-left-off", "toggle-storm"}),
        ("kvm:kvm_exit", {"bus-lock", "guest-ac"}),
        ("split_lock_warn", {"user-space-split-lock"}),
        ("synchronize_srcu", set()),
    ],
)
def test_a_probe_that_was_refused_leaves_its_findings_open(
    tmp_path: Path, probe: str, kinds: set[str]
) -> None:
    recorded = trace(tmp_path, [completed(0)], opening=refused(probe))
    assert {kind for kind, why in reasons(recorded).items() if probe in why} == kinds


def test_one_probe_of_waits_is_enough(tmp_path: Path) -> None:
    both = refused("synchronize_srcu", "lock:contention_begin")
    assert "could not be probed" in reasons(trace(tmp_path, [completed(0)], opening=both))["lock-hold"]


def test_an_analyzer_without_its_needs_is_not_run(tmp_path: Path) -> None:
    rows = [counted(74, 7, {12: 7})]
    found = catalogue.run(trace(tmp_path, more={"counts": rows}))
    assert [finding.kind for finding in found] == ["bus-lock"]
    assert catalogue.run(trace(tmp_path, more={"counts": rows}, opening=refused("kvm:kvm_exit"))) == []


def test_without_traps_only_analyzers_that_need_none_are_not_evaluated(tmp_path: Path) -> None:
    quiet = trace(tmp_path, more={"detail": [step(0, "TRAPS", "TRAPS", "START")]})
    found = reasons(quiet)
    assert set(found) == {"bus-lock", "guest-ac"}
    assert "not watched before the first trap (record --exits all" in found["bus-lock"]


@pytest.mark.parametrize(("exits", "open_"), [("none", True), ("recent", False), ("counts", False)])
def test_what_was_not_to_be_recorded(tmp_path: Path, exits: str, open_: bool) -> None:
    recorded = trace(tmp_path, [completed(0)], opening={**facts(), "exits": exits})
    assert ("record --exits none" in reasons(recorded).get("bus-lock", "")) == open_


def test_a_level_that_was_never_reached(tmp_path: Path) -> None:
    steps = [step(0, "TRAPS", "TRAPS", "START")]
    assert (
        "not watched at any time"
        in reasons(trace(tmp_path, [completed(0)], more={"detail": steps}))["bus-lock"]
    )
    steps.append(step(MS, "EXITS", "TRAPS", "TRAP"))
    assert reasons(trace(tmp_path, [completed(0)], more={"detail": steps})) == {}


def test_a_simulation_has_what_was_simulated(tmp_path: Path) -> None:
    found = reasons(simulated(tmp_path, "-d", "1s"))
    assert set(found) == {"lock-hold", "bus-lock", "guest-ac"}
    assert all("were simulated" in why for why in found.values())


def test_facts_may_be_needed(tmp_path: Path) -> None:
    need = Needs(("trap",), facts=(("kernel", "release"), ("kernel", "tick_ns")))
    assert needs.missing(trace(tmp_path, [completed(0)]), need) is None
    without = trace(tmp_path, [completed(0)], opening=facts(kernel={"tick_ns": None}))
    assert needs.missing(without, need) == "the fact kernel.tick_ns is missing"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cpu": {"vendor": "AuthenticAMD"}}, "the mode warn has no penalty"),
        ({"split_lock": {"mode": "off"}}, "split_lock_detect=off"),
        ({"split_lock": {"mode": "ratelimit:5"}}, "split locks of guests do not trap"),
        ({"split_lock": {"mode": "fatal"}}, "in SIGBUS and are not recorded"),
        ({"split_lock": {"mitigate": 0}}, "numbers of traps are too low"),
        ({"split_lock": {"mitigate": None}, "kernel": {"release": "5.15.0"}}, "Before Linux 5.19"),
        ({"filters": {"tgid": 200}}, "(filters: tgid)"),
    ],
)
def test_what_this_host_cannot_show(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    (said,) = limitations.sentences(trace(tmp_path, opening=facts(**changed)))
    assert words in said


@pytest.mark.parametrize("release", ["6.15.0", "6.16.3"])
def test_counts_are_trusted_from_6_15_on(tmp_path: Path, release: str) -> None:
    new = facts(kernel={"release": release}, split_lock={"mitigate": 0})
    assert limitations.sentences(trace(tmp_path, opening=new)) == []
    assert limitations.sentences(trace(tmp_path, loop(10))) == []
