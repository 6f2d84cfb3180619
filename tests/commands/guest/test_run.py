"""`sldtrace guest`: what it prints, what it refuses, what it leaves to a script."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sldtrace.commands import report
from sldtrace.commands.guest import guest
from sldtrace.errors import UsageError
from sldtrace.host import access, split_lock
from sldtrace.host.split_lock import SplitLock
from sldtrace.vmm import guests
from sldtrace.vmm.kicks import Kind
from sldtrace.vmm.kvm import DEVICE
from sldtrace.vmm.plan import Plan, Result
from tests.commands.guest.plans import Fake, plan

needs_kvm = pytest.mark.skipif(
    not os.access(DEVICE, os.R_OK | os.W_OK), reason=f"{DEVICE} is missing or may not be opened"
)


def sldtrace(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sldtrace", "guest", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", plan()),
        ("--timeout none", plan(timeout_ns=0)),
        ("--kick itimer", plan(kick=Kind.ITIMER, signo=14)),
        ("--kick tgkill --signal SIGRTMIN+3", plan(kick=Kind.TGKILL, signo=signal.SIGRTMIN + 3)),
        ("--kick immediate-exit --signal usr2", plan(kick=Kind.IMMEDIATE_EXIT, signo=12)),
        ("--signal 23 --duration 1m", plan(signo=23, duration_ns=60_000_000_000)),
        ("--vcpus 3 --operands shared", plan(vcpus=3, shared=True)),
        ("--offset 57", plan(guest=guests.load("split-bts").adjusted(57))),
        ("rare-split --every 9", plan(guest=guests.load("rare-split").adjusted(None, 9))),
        ("--migrate 0", plan(migrate_ns=0, cpus=(0, 1, 2, 3))),
        ("--migrate 2ms", plan(migrate_ns=2_000_000, cpus=(0, 1, 2, 3))),
        ("--migrate 2ms --cpus 3,1", plan(migrate_ns=2_000_000, cpus=(3, 1))),
        ("--memory-slots 5ms --cpus 1-3,0", plan(slots_ns=5_000_000, cpus=(1, 2, 3, 0))),
        ("split-xchg --program", plan("split-xchg", program=True)),
    ],
)
def test_options_become_the_plan(arguments: str, expected: Plan, fake: type[Fake]) -> None:
    result = CliRunner().invoke(guest, ["run", *arguments.split()], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    ((plans, load, _),) = fake.made
    assert (plans, load) == ([expected], 0)


def test_an_interrupted_run_prints_what_it_has(fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    run = fake.run

    def interrupted(*arguments: Any) -> list[Result]:
        return [dataclasses.replace(result, interrupted=True) for result in run(*arguments)]

    monkeypatch.setattr(fake, "run", interrupted)
    result = CliRunner().invoke(guest, ["run"])
    assert "split-bts" in result.stdout
    # By KeyboardInterrupt, of which sldtrace.cli makes SIGINT.
    assert result.stderr.endswith("\nAborted!\n")


def test_vms_take_the_cpus_in_turn(fake: type[Fake]) -> None:
    options = ["--vms", "3", "--vcpus", "2", "--cpus", "0-2", "--load", "4"]
    assert CliRunner().invoke(guest, ["run", *options]).exit_code == 0
    ((plans, load, cpus),) = fake.made
    assert [plan.cpus for plan in plans] == [(0, 1, 2), (2, 0, 1), (1, 2, 0)]
    assert (load, cpus) == (4, [0, 1, 2])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--timeout 0", "'0' is not between"),
        ("--timeout=-1ms", "'-1ms' is not a length of time"),
        ("--timeout 2h", "'2h' is not between"),
        ("--duration -1s", "'-1s' is not a length of time"),
        ("--duration none", "'none' is not a length of time"),
        ("--duration 1000h", "'1000h' is not between"),
        ("--migrate 2h", "'2h' is not between"),
        ("--signal SIGKILL", "SIGKILL cannot be a kick"),
        ("--signal SIGINT", "SIGINT cannot be a kick"),
        ("--signal 33", "signal 33 cannot be a kick"),
        ("--signal 65", "cannot be a kick"),
        ("--signal 0", "cannot be a kick"),
        ("--signal SIGNAL", "'SIGNAL' is not a signal"),
        ("--signal RTMIN+99", "cannot be a kick"),
        ("--kick bell", "'bell' is not one of"),
        ("--vcpus 17", "17 is not in the range"),
        ("--vms 0", "0 is not in the range"),
        ("--offset 64", "64 is not in the range"),
        ("--every 0", "0 is not in the range"),
        ("--load -1", "-1 is not in the range"),
        ("--cpus 1,,2", "'1,,2' is not a list of CPUs"),
        ("--cpus 3-1", "'3-1' runs backwards"),
        ("--cpus 0-3000,0-3000", "more than 4,096 CPUs"),
    ],
)
def test_usage(arguments: str, words: str, fake: type[Fake]) -> None:
    result = CliRunner().invoke(guest, ["run", *arguments.split()])
    assert result.exit_code == 2
    assert words in result.output
    assert fake.made == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("unknown", "there is no guest 'unknown'"),
        ("no\x1bbody", r"there is no guest 'no\x1bbody'"),
        ("--kick itimer --signal SIGUSR1", "setitimer sends SIGALRM"),
        ("--cpus 0,7", "CPU 7 is offline, missing, or not allowed"),
        ("--cpus 1,1 --migrate 1ms", "moving threads needs two CPUs"),
        ("io-loop --offset 3", "io-loop has no operand"),
        ("split-bts --every 3", "split-bts does nothing once in N"),
    ],
)
def test_what_cannot_be_meant_is_one_line(arguments: str, words: str, fake: type[Fake]) -> None:
    result = CliRunner().invoke(guest, ["run", *arguments.split()])
    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception)
    assert fake.made == []


def test_record_watches_from_the_beginning_and_the_report_follows(
    recorder: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(guest, ["run", "--vms", "2", "--record"], catch_exceptions=False)
    assert recorder == ["begin [100, 101]", "end"]
    (path,) = tmp_path.glob("split-bts-*.sld")
    whole = CliRunner().invoke(report.report, [str(path)]).output
    assert "LIVELOCK" in whole
    assert result.stdout.endswith("\n\n" + whole)
    assert result.stdout.startswith("guest           split-bts")
    assert "cannot trap here" not in result.stderr


def test_record_for_scripts(recorder: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    said = json.loads(CliRunner().invoke(guest, ["run", "--record", str(path), "--format=json"]).stdout)
    assert (said["loops"], said["recording"]) == (5, str(path))
    assert [finding["verdict"] for finding in said["report"]["findings"]] == ["livelock"]


def test_a_host_that_lacks_the_reports_libraries_says_where_to_take_the_recording(
    recorder: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(file: Path) -> Any:
        raise ModuleNotFoundError(name="pandas")

    monkeypatch.setattr(report, "build", missing)
    path = tmp_path / "a.sld"
    result = CliRunner().invoke(guest, ["run", "--record", str(path)], catch_exceptions=False)
    assert "loops           5" in result.stdout
    assert f"pandas is missing; install it, or take the file to another machine: sldtrace report {path}" in (
        result.stderr
    )


@pytest.mark.parametrize(
    ("host", "arguments", "words"),
    [
        (
            SplitLock("unsupported", False, False, None),
            "",
            "cannot trap here, .*: this CPU has no split-lock",
        ),
        (SplitLock("off", True, False, 1), "", "cannot trap here, .*: booted with split_lock_detect=off"),
        (SplitLock("warn", True, False, 0), "", "mitigate=0: split locks trap, but are not penalized"),
        (SplitLock("fatal", True, False, 1), "", "will kill the guest's process by SIGBUS"),
        (SplitLock("warn", True, False, 1), "aligned-bts ", "aligned-bts takes no split lock"),
    ],
)
def test_a_host_on_which_nothing_can_freeze_says_so_before_anything_starts(
    host: SplitLock, arguments: str, words: str, recorder: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise UsageError("not yet")

    monkeypatch.setattr(split_lock, "read", lambda: host)
    monkeypatch.setattr(access, "require", refuse)
    result = CliRunner().invoke(guest, ["run", *arguments.split(), "--record", "a.sld"])
    assert str(result.exception) == "not yet"
    (line,) = result.stderr.splitlines()
    assert re.search(words, line)
    assert Fake.made == []


def test_a_file_that_exists_and_a_guest_for_a_file_are_refused(recorder: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.sld").touch()
    for value, words in ((str(tmp_path / "a.sld"), "exists"), ("split-xchg", "is a guest; name the guest")):
        result = CliRunner().invoke(guest, ["run", "--record", value])
        assert isinstance(result.exception, UsageError)
        assert words in str(result.exception)
    (tmp_path / "to-nowhere").symlink_to(tmp_path / "nowhere")
    for path, words in (
        (
            tmp_path / "gone" / "a.sld",
            "cannot create .*: No such file or directory; write the recording some",
        ),
        (tmp_path / "a.sld" / "b.sld", "cannot create .*: Not a directory"),
        (tmp_path / ("a" * 300), "cannot create .*: File name too long"),
        (tmp_path / "to-nowhere", "exists"),
    ):
        result = CliRunner().invoke(guest, ["run", "--record", str(path)])
        assert re.search(words, str(result.exception))
    assert recorder == []
    assert Fake.made == []


def test_a_host_without_kvm_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sldtrace.vmm.kvm.DEVICE", "/nowhere/kvm")
    result = CliRunner().invoke(guest, ["run", "--duration", "1ms"])
    assert str(result.exception).startswith("cannot open /nowhere/kvm: No such file or directory; load")


def test_more_vcpus_than_the_host_allows_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sldtrace.vmm.kvm.open_device", lambda: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr("sldtrace.vmm.kvm.most_vcpus", lambda device: 3)
    result = CliRunner().invoke(guest, ["run", "--vcpus", "4"])
    assert isinstance(result.exception, UsageError)
    assert "this host allows 3 vCPUs for a VM, not 4" in str(result.exception)


@needs_kvm
def test_run_for_people() -> None:
    result = sldtrace("run", "--timeout", "1ms", "--duration", "50ms")
    assert result.returncode == 0
    labels = [line[:16].strip() for line in result.stdout.splitlines()[:8]]
    assert labels == [
        "guest",
        "timeout",
        "ran for",
        "loops",
        "KVM_RUN calls",
        "EINTR returns",
        "I/O exits",
        "longest KVM_RUN",
    ]
    assert f"split lock at {guests.load('split-bts').locked:#x}" in result.stdout
    assert "progress: " in result.stdout
    assert "runs as a VM in process" in result.stderr


def run_until_it_loops(*options: str) -> tuple[dict[str, Any], str]:
    """JSON and messages of the first run that is long enough: others may leave a short one no time."""
    for duration in ("50ms", "500ms", "5s", "50s"):
        result = sldtrace("run", *options, "--duration", duration, "--format=json")
        assert result.returncode == 0
        said: dict[str, Any] = json.loads(result.stdout)
        if said["loops"]:
            break
    return said, result.stderr


@needs_kvm
def test_run_for_scripts() -> None:
    said, messages = run_until_it_loops("aligned-bts", "--signal", "SIGALRM")
    assert said["loops"] > 0
    assert said["kvm_runs"] == said["eintr"] > 0
    assert (said["guest"], said["signal"], said["timeout_ns"]) == ("aligned-bts", "SIGALRM", 1_000_000)
    assert f"process {said['tgid']}, thread {said['tid']}" in messages


@needs_kvm
@pytest.mark.parametrize(("name", "io_exits"), [("cpuid-loop", False), ("io-loop", True)])
def test_exits_without_a_timer(name: str, io_exits: bool) -> None:
    said, _ = run_until_it_loops(name, "--timeout", "none")
    assert said["timeout_ns"] is None
    assert said["loops"] > 0
    assert said["eintr"] <= 1
    assert said["kvm_runs"] == said["eintr"] + said["io_exits"]
    # The guest counts before it writes: it is ahead by the loop in which it was stopped, if any.
    assert said["io_exits"] <= said["loops"] <= said["io_exits"] + 1 if io_exits else said["io_exits"] == 0
