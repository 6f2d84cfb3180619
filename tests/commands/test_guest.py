"""`sldtrace guest`: what it prints, what it refuses, what it leaves to a script."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from sldtrace.commands.guest import _meaning, _progress, guest
from sldtrace.errors import UsageError
from sldtrace.host.splitlock import SplitLock
from sldtrace.vmm import guests
from sldtrace.vmm.loop import Outcome
from sldtrace.vmm.machine import DEVICE

needs_kvm = pytest.mark.skipif(
    not os.access(DEVICE, os.R_OK | os.W_OK), reason=f"{DEVICE} is missing or may not be opened"
)


def sldtrace(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sldtrace", "guest", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_list_explains_every_guest() -> None:
    result = CliRunner().invoke(guest, ["list"])
    assert result.exit_code == 0
    for name in guests.names():
        one = guests.load(name)
        assert f"{name}: {one.summary}\n" in result.output
        assert f"{one.locked:#x}" in result.output
    assert max(map(len, result.output.splitlines())) <= 110


def test_list_as_json() -> None:
    listed = json.loads(CliRunner().invoke(guest, ["list", "--json"]).output)
    assert [one["name"] for one in listed] == guests.names()
    split = next(one for one in listed if one["name"] == "split-bts")
    assert split["crosses_cache_line"] is True
    assert split["locked_address"] == guests.load("split-bts").locked


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--timeout", "0"], "'0' is not between"),
        (["--timeout", "2h"], "'2h' is not between"),
        (["--duration", "-1s"], "'-1s' is not a length of time"),
        (["--duration", "1000h"], "'1000h' is not between"),
        (["--signal", "SIGKILL"], "'SIGKILL' is not one of"),
    ],
)
def test_usage(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(guest, ["run", *arguments])
    assert result.exit_code == 2
    assert words in result.output


def test_a_timeout_beyond_the_duration_and_an_unknown_guest_are_usage_errors() -> None:
    for arguments, words in (
        (["--timeout", "2s", "--duration", "1s"], "--timeout 2s is longer than --duration 1s"),
        (["nobody"], "there is no guest 'nobody'"),
    ):
        result = CliRunner().invoke(guest, ["run", *arguments])
        assert isinstance(result.exception, UsageError)
        assert words in str(result.exception)


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
    assert "runs in process" in result.stderr


@needs_kvm
def test_run_for_scripts() -> None:
    result = sldtrace("run", "aligned-bts", "--duration", "50ms", "--signal", "SIGALRM", "--json")
    assert result.returncode == 0
    said = json.loads(result.stdout)
    assert said["loops"] > 0
    assert said["kvm_runs"] == said["eintr"] > 0
    assert (said["guest"], said["signal"], said["timeout_ns"]) == ("aligned-bts", "SIGALRM", 1_000_000)
    assert f"process {said['tgid']}, thread {said['tid']}" in result.stderr


@needs_kvm
@pytest.mark.parametrize(("name", "io_exits"), [("cpuid-loop", False), ("io-loop", True)])
def test_exits_without_a_timer(name: str, io_exits: bool) -> None:
    said = json.loads(sldtrace("run", name, "--timeout", "none", "--duration", "50ms", "--json").stdout)
    assert said["timeout_ns"] is None
    assert said["loops"] > 0
    assert said["eintr"] <= 1
    assert said["kvm_runs"] == said["eintr"] + said["io_exits"]
    # The guest counts before it writes: it is ahead by the loop in which it was stopped, if any.
    assert said["io_exits"] <= said["loops"] <= said["io_exits"] + 1 if io_exits else said["io_exits"] == 0


def test_no_progress_says_only_what_was_counted() -> None:
    stuck = Outcome(0, 928, 928, 0, 1_430_000, 10**9, 0x4018, False)
    text = _progress(stuck)
    assert text.startswith("no progress: not one loop finished in 928 KVM_RUN calls")
    assert "0x4018" in text
    assert _progress(Outcome(5, 2, 2, 0, 1, 1, 0, False)) == "progress: 5 loops finished, 2.5 per KVM_RUN"


@pytest.mark.parametrize(
    ("name", "host", "words"),
    [
        ("split-bts", SplitLock("unsupported", False, False, 1), "no split-lock detection"),
        ("split-bts", SplitLock("warn", False, True, 1), "no split-lock detection"),
        ("split-bts", SplitLock("off", True, False, 1), "booted with split_lock_detect=off"),
        ("split-bts", SplitLock("ratelimit:5", True, True, 1), "booted with split_lock_detect=ratelimit:5"),
        (
            "split-bts",
            SplitLock("warn", True, False, 0),
            "split_lock_detect=warn, kernel.split_lock_mitigate 0",
        ),
        ("split-bts", SplitLock("warn", True, False, None), "kernel.split_lock_mitigate missing"),
        ("aligned-bts", SplitLock("warn", True, False, 1), "detection does not concern it"),
    ],
)
def test_meaning_follows_the_host(name: str, host: SplitLock, words: str) -> None:
    assert words in _meaning(guests.load(name), host)
