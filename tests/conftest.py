"""Boots the emulated hosts for the whole run: four machines, two at a time, beside the fast tests."""

import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import artefacts, machine
from lab.job import Job
from lab.kernel import KERNELS
from lab.machine import Result
from lab.progress import Progress

# What does not depend on the kernel is looked at on one only, by a machine of its own.
LIMITS = "limits"
_LIMITS_KERNEL = "6.12"
_SCENARIO = Path(__file__).parent / "integration" / "scenario.py"
_MACHINES = pytest.StashKey["Machines"]()


@dataclass(frozen=True)
class Scenario:
    """What one machine brought back: the protocol of scenario.py, and the folder with the recordings."""

    kernel: str
    result: Result
    protocol: dict[str, Any]
    folder: Path


class Machines:
    """The runs of the scenario by kernel."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._runs: dict[str, Future[Scenario]] = {}

    def begin(self, names: set[str]) -> None:
        """Builds what is missing, then runs the machines: named by their kernel, or LIMITS."""
        kernels = {_LIMITS_KERNEL if name == LIMITS else name for name in names}
        built = self._pool.submit(artefacts.ensure, sorted(kernels), self._progress)
        for name in sorted(names):
            self._runs[name] = self._pool.submit(self._run, name, built)

    def result(self, name: str) -> Scenario:
        """Waits for that machine; raises what made it fail."""
        return self._runs[name].result()

    def end(self) -> None:
        """Begins nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, name: str, built: "Future[artefacts.Lab]") -> Scenario:
        kernel, part = (_LIMITS_KERNEL, "limits") if name == LIMITS else (name, "verdicts")
        job = Job(
            command=["python3", "/tmp/scenario.py", "/tmp/out", part],
            kernel=kernel,
            put={"/tmp/scenario.py": _SCENARIO},
            fetch=["/tmp/out"],
            out=self._folder / name,
            timeout=1500,
        )
        lab = built.result()
        self._progress.stage(f"{part} on {lab.kernels[kernel].release}: begun")
        result = machine.run(job, Progress(quiet=True), lab=lab)
        took = f"{result.timings.total:.0f} s"
        self._progress.stage(f"{part} on {lab.kernels[kernel].release}: status {result.status}, {took}")
        assert result.status == 0, result.output.decode(errors="replace")
        folder = result.files["/tmp/out"]
        return Scenario(kernel, result, json.loads((folder / "protocol.json").read_text()), folder)


def _needed(items: list[pytest.Item]) -> set[str]:
    return {name for item in items if (name := _machine(item))}


def _machine(item: pytest.Item) -> str:
    names = getattr(item, "fixturenames", ())
    if "scenario" in names and hasattr(item, "callspec"):
        return str(item.callspec.params["scenario"])
    return LIMITS if "limits" in names else ""


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
    machines = Machines(folder, Progress(stream, terminal=False))
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
    return request.config.stash[_MACHINES].result(LIMITS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that wait for a machine come last, those of one machine together."""

    items.sort(key=_machine)
