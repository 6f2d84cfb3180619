"""The facts that open a recording, from a fake /proc."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from sldtrace._version import __version__
from sldtrace.host import facts, kallsyms
from tests.host.fakeproc import proc


def test_facts_are_plain_json_and_complete(tmp_path: Path) -> None:
    folder = proc(tmp_path, mitigate="0\n", cmdline="split_lock_detect=warn")
    (folder / "sys/kernel/random").mkdir(parents=True)
    (folder / "sys/kernel/random/boot_id").write_text("2f0c58a4-a7fc-4c1e-8f0f-5f3a9b1d2c4e\n")
    nested = tmp_path / "module/kvm_intel/parameters/nested"
    nested.parent.mkdir(parents=True)
    nested.write_text("Y\n")
    found = facts.read(folder, tmp_path)
    assert json.loads(json.dumps(found)) == found
    assert list(found) == ["tool", "clock", "host", "kernel", "cpu", "split_lock", "kvm"]
    assert found["host"] == {
        "name": os.uname().nodename,
        "boot_id": "2f0c58a4-a7fc-4c1e-8f0f-5f3a9b1d2c4e",
    }
    assert found["tool"] == {"name": "sldtrace", "version": __version__}
    assert found["cpu"]["model"] == "A CPU: with a colon"
    assert found["cpu"]["vendor"] == "GenuineIntel"
    assert found["split_lock"] == {
        "mode": "warn",
        "detects_split_locks": True,
        "detects_bus_locks": False,
        "mitigate": 0,
    }
    assert found["kernel"]["tick_ns"] > 0
    assert set(found["kernel"]["symbols"]) <= kallsyms.GENERATION_SYMBOLS
    assert found["kvm"] == {"module": "kvm_intel", "nested": True}


@pytest.mark.parametrize(
    ("modules", "module"),
    [
        ("kvm_amd 1 0 - Live 0x0\nkvm 2 1 kvm_amd, Live 0x0\n", "kvm_amd"),
        ("kvm 2 0 - Live 0x0\n", None),
        ("kvm_intel_extra 2 0 - Live 0x0\n", None),
        ("", None),
    ],
)
def test_the_module_of_kvm(modules: str, module: str | None, tmp_path: Path) -> None:
    assert facts.read(proc(tmp_path, modules=modules), tmp_path)["kvm"] == {"module": module, "nested": None}


def test_a_cpu_that_says_nothing_of_itself(tmp_path: Path) -> None:
    folder = proc(tmp_path)
    (folder / "cpuinfo").write_text("")
    found: dict[str, Any] = facts.read(folder)
    assert (found["cpu"]["vendor"], found["cpu"]["model"]) == ("unknown", "unknown")


def test_a_host_without_a_boot_id(tmp_path: Path) -> None:
    assert facts.read(proc(tmp_path))["host"]["boot_id"] is None


def test_the_clocks_are_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """CLOCK_MONOTONIC is read before and after, the wall clock in between."""
    monotonic = iter([1_000, 1_200])
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(monotonic))
    monkeypatch.setattr(time, "time_ns", lambda: 5_000_000)
    assert facts.clock() == {"monotonic_ns": 1_100, "realtime_ns": 5_000_000}


def test_the_clocks_of_this_machine() -> None:
    before = time.monotonic_ns()
    found = facts.clock()
    assert before <= found["monotonic_ns"] <= time.monotonic_ns()


def test_what_changes_later_has_the_name_that_it_had_at_the_start() -> None:
    now = facts.moment()
    opening = facts.read()
    assert {name: opening[name] for name in now if name != "clock"} == {"split_lock": now["split_lock"]}
