"""Boots the emulated hosts for the whole run: five machines, two at a time, beside the fast tests."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

from lab.kernel import KERNELS

# What does not depend on the kernel is looked at on one only: machines of their own, and their CPUs.
_PARTS = {"limits": 1, "production": 2, "by_hand": 2}
_PARTS_KERNEL = "6.12"
_REPOSITORY = Path(__file__).resolve().parent.parent
_MACHINES = pytest.StashKey["Machines"]()


@dataclass(frozen=True)
class Scenario:
    """What one machine brought back: the protocol of scenario.py, and the folder with the recordings."""

    kernel: str
    protocol: dict[str, Any]
    folder: Path


class Machines:
    """The runs of the scenario, by kernel, and one for each of the other parts.

    Each is a process of its own, with the environment of the beginning: other tests change theirs.
    """

    def __init__(self, folder: Path, terminal: TextIO) -> None:
        self._folder = folder
        self._terminal = terminal
        self._environment = dict(os.environ)
        self._start = time.monotonic()
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._runs: dict[str, Future[Scenario]] = {}

    def begin(self, names: set[str]) -> None:
        """Builds what is missing, then runs the machines."""
        kernels = sorted({_PARTS_KERNEL if name in _PARTS else name for name in names})
        built = self._pool.submit(self._build, kernels)
        # The longest first.
        for name in sorted(names, key=lambda name: (-_PARTS.get(name, 0), name)):
            self._runs[name] = self._pool.submit(self._run, name, built)

    def result(self, name: str) -> Scenario:
        """Waits for that machine; raises what made it fail."""
        return self._runs[name].result()

    def end(self) -> None:
        """Begins nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _say(self, text: str) -> None:
        self._terminal.write(f"tests: [{time.monotonic() - self._start:5.1f} s] {text}\n")

    def _lab(self, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "lab", *arguments]
        return subprocess.run(command, cwd=_REPOSITORY, env=self._environment, text=True, **options)

    def _build(self, kernels: list[str]) -> None:
        options = [word for kernel in kernels for word in ("--kernel", kernel)]
        if self._lab("build", *options, stderr=self._terminal).returncode:
            raise RuntimeError("the lab cannot be built; see above")

    def _run(self, name: str, built: "Future[None]") -> Scenario:
        kernel, part = (_PARTS_KERNEL, name) if name in _PARTS else (name, "verdicts")
        built.result()
        self._say(f"the emulated host boots Linux {kernel} for the {part}")
        begun = time.monotonic()
        done = self._lab(
            *("run", "--quiet", "--kernel", kernel, "--timeout", "1500"),
            *("--cpus", str(_PARTS.get(name, 1))),
            *("--fetch", "/tmp/out", "--out", str(self._folder / name)),
            *("--", "python3", "tests/integration/scenario.py", "/tmp/out", part),
            capture_output=True,
        )
        self._say(f"Linux {kernel}, {part}: status {done.returncode} after {time.monotonic() - begun:.0f} s")
        assert done.returncode == 0, done.stdout + done.stderr
        folder = self._folder / name / "out"
        return Scenario(kernel, json.loads((folder / "protocol.json").read_text()), folder)


def _needed(items: list[pytest.Item]) -> set[str]:
    return {name for item in items if (name := _machine(item))}


def _machine(item: pytest.Item) -> str:
    names = getattr(item, "fixturenames", ())
    if "scenario" in names and hasattr(item, "callspec"):
        return str(item.callspec.params["scenario"])
    return next((part for part in _PARTS if part in names and not _left_out(part)), "")


def _left_out(part: str) -> bool:
    return part == "by_hand" and "SLDTRACE_BY_HAND" not in os.environ


def pytest_collection_finish(session: pytest.Session) -> None:
    """Starts the machines as soon as it is known which are needed."""
    names = _needed(session.items)
    if session.config.option.collectonly or not names:
        return
    # To the terminal itself, past pytest's capture: minutes without a word look like a hang.
    capture = session.config.pluginmanager.getplugin("capturemanager")
    capture.suspend_global_capture()
    stream = os.fdopen(os.dup(2), "w", buffering=1)
    capture.resume_global_capture()
    folder = session.config._tmp_path_factory.mktemp("machines")  # type: ignore[attr-defined]
    machines = Machines(folder, stream)
    session.config.stash[_MACHINES] = machines
    machines.begin(names)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leaves no machine behind that has not begun."""
    machines = session.config.stash.get(_MACHINES, None)
    if machines is not None:
        machines.end()


@pytest.fixture(scope="session", params=sorted(KERNELS))
def scenario(request: pytest.FixtureRequest) -> Scenario:
    """The scenario of one kernel; a test that uses it runs once for each kernel."""
    return request.config.stash[_MACHINES].result(request.param)


@pytest.fixture(scope="session")
def limits(request: pytest.FixtureRequest) -> Scenario:
    """What was looked at on one kernel only."""
    return request.config.stash[_MACHINES].result("limits")


@pytest.fixture(scope="session")
def production(request: pytest.FixtureRequest) -> Scenario:
    """One long recording on two CPUs."""
    return request.config.stash[_MACHINES].result("production")


@pytest.fixture(scope="session")
def by_hand(request: pytest.FixtureRequest) -> Scenario:
    """What takes long and runs only when it is asked for; see integration/test_by_hand.py."""
    return request.config.stash[_MACHINES].result("by_hand")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that wait for a machine come last, those of one machine together."""

    items.sort(key=_machine)
