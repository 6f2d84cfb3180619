"""Whole scenarios of the model: the finding that belongs to each is the one reported, and no other."""

from pathlib import Path

import pytest

from sldtrace.analyzers.finding import Severity
from sldtrace.analyzers.findings import catalogue
from tests.analyzers.simulated import kinds, simulated

SLOW = ("penalty-slowdown", "slowed")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--timer", "1ms", "-d", "1s"], [("early-return-loop", "livelock")]),
        (["--timer", "1ms", "-d", "1s", "--exits"], [("early-return-loop", "livelock")]),
        (["--timer", "10ms", "-d", "5s"], [("early-return-loop", "delayed"), SLOW]),
        (["--timer", "12ms", "-d", "1s", "--kernel", "6.1"], [("early-return-loop", "livelock")]),
        (["--timer", "1ms", "-d", "1s", "--program"], [("user-space-split-lock", "livelock")]),
        (["--timer", "20ms", "-d", "2s"], [SLOW]),
        (["--timer", "none", "-d", "2s"], [SLOW]),
        (["--mode", "fatal", "-d", "1s"], [("fatal", "killed")]),
        (["--timer", "none", "--vcpus", "4", "--cpus", "4", "-d", "3s"], [("semaphore-queue", "queue")]),
        (
            ["--timer", "none", "--migrate", "1ms", "--cpus", "2", "-d", "3s"],
            [("migration-defeat", "penalty wasted")],
        ),
        (
            ["--mitigate", "0", "--vcpus", "4", "--cpus", "4", "-d", "3s", "--kernel", "6.12"],
            [("detection-left-off", "detection left off")],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and isinstance(value[0], str) else "",
)
def test_the_finding_is_the_one(tmp_path: Path, options: list[str], expected: list[tuple[str, str]]) -> None:
    assert kinds(simulated(tmp_path, *options)) == expected


def test_waiting_threads_that_are_signalled_are_in_a_loop_at_the_semaphore(tmp_path: Path) -> None:
    found = kinds(simulated(tmp_path, "--timer", "17ms", "--vcpus", "4", "--cpus", "4", "-d", "5s"))
    assert found[:2] == [("semaphore-early-return", "livelock")] * 2
    assert {kind for kind, _ in found[2:]} <= {"penalty-slowdown"}


def test_the_least_period_at_the_semaphore_lets_all_through(tmp_path: Path) -> None:
    options = ("--vcpus", "4", "--cpus", "4", "--jitter", "none", "-d", "5s")
    stuck = catalogue.run(simulated(tmp_path, "--timer", "17ms", *options))
    (least,) = {each.numbers.least_period_ns for each in stuck if each.kind == "semaphore-early-return"}
    assert least == (4 + 3 * 3) * 4_000_000
    found = kinds(simulated(tmp_path, "--timer", f"{least // 1_000_000 + 1}ms", *options))
    assert {kind for kind, _ in found} <= {"semaphore-queue", "penalty-slowdown"}


@pytest.mark.parametrize(
    "options",
    [
        ["--mode", "off", "-d", "2s"],
        ["--mode", "off", "-d", "2s", "--exits"],
        ["--spacing", "1s", "--timer", "20ms", "-d", "20s"],
        ["--spacing", "500ms", "--timer", "none", "-d", "20s"],
        ["--spacing", "1s", "--timer", "4ms", "-d", "20s", "--mitigate", "0"],
        ["--mitigate", "0", "--timer", "1ms", "-d", "2s"],
        ["--mitigate", "0", "--timer", "1ms", "-d", "2s", "--kernel", "6.16", "--vcpus", "4", "--cpus", "2"],
        ["--mitigate", "0", "-d", "2s", "--kernel", "6.16", "--vcpus", "4", "--cpus", "4", "--siblings", "2"],
        ["--kernel", "5.15", "--timer", "1ms", "-d", "2s"],
        ["--spacing", "1s", "--timer", "20ms", "-d", "20s", "--vcpus", "16", "--cpus", "2"],
        [
            "--spacing",
            "1s",
            "--timer",
            "none",
            "-d",
            "20s",
            "--vcpus",
            "8",
            "--cpus",
            "8",
            "--migrate",
            "7ms",
        ],
    ],
    ids=" ".join,
)
def test_healthy_scenarios_give_nothing(tmp_path: Path, options: list[str]) -> None:
    assert kinds(simulated(tmp_path, *options)) == []


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "6.16"])
@pytest.mark.parametrize("hz", ["100", "250", "1000"])
def test_a_timer_a_jiffy_above_the_threshold_is_no_loop_on_any_kernel(
    tmp_path: Path, kernel: str, hz: str
) -> None:
    jiffy = 1000 // int(hz)
    alive = -(-10 // jiffy) * jiffy + (jiffy if kernel == "6.1" else 0)
    options = ("--kernel", kernel, "--hz", hz, "-d", "3s", "--jitter", "none")
    above = simulated(tmp_path, "--timer", f"{alive + jiffy}ms", *options)
    assert [kind for kind, _ in kinds(above)] == ["penalty-slowdown"]
    if alive > jiffy:
        below = simulated(tmp_path, "--timer", f"{alive - jiffy}ms", *options)
        assert kinds(below) == [("early-return-loop", "livelock")]


def test_the_worst_severity_decides_what_fails_a_script(tmp_path: Path) -> None:
    left_off = catalogue.run(
        simulated(tmp_path, "--mitigate", "0", "--vcpus", "2", "--cpus", "2", "-d", "1s")
    )
    assert {finding.severity for finding in left_off} <= {Severity.NOTICE}
