"""Boots the emulated hosts for the whole run, two at a time, beside the fast tests."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

from lab.kernel import KERNELS
from tests.machines import MACHINES

_REPOSITORY = Path(__file__).resolve().parent.parent
_RUNNING = pytest.StashKey["Machines"]()


@dataclass(frozen=True)
class Scenario:
    """What one machine brought back: the protocol of its script, and the folder with its recordings."""

    kernel: str
    protocol: dict[str, Any]
    folder: Path


class Machines:
    """The runs of the machines, by name.

    Each is a process of its own, with the environment of the beginning: other tests change theirs.
    """

    def __init__(self, folder: Path, terminal: TextIO) -> None:
        self._folder = folder
        self._terminal = terminal
        self._environment = dict(os.environ)
        self._start = time.monotonic()
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._runs: dict[tuple[str, ...], Future[Scenario]] = {}

    def begin(self, names: set[tuple[str, ...]]) -> None:
        """Builds what is missing, then runs the machines."""
        kernels = sorted({MACHINES[name].kernel for name in names})
        built = self._pool.submit(self._build, kernels)
        # The longest first.
        order = {name: (-one.cpus, one.script, name) for name, one in MACHINES.items()}
        for name in sorted(names, key=lambda name: order[name]):
            self._runs[name] = self._pool.submit(self._run, name, built)

    def result(self, *name: str) -> Scenario:
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

    def _run(self, name: tuple[str, ...], built: "Future[None]") -> Scenario:
        one, out = MACHINES[name], self._folder / "-".join(name)
        built.result()
        put: tuple[str, ...] = ()
        if one.program:
            out.mkdir()
            compiled = out / Path(one.program).stem
            subprocess.run(["cc", "-O2", "-o", compiled, one.program], cwd=_REPOSITORY, check=True)
            put = ("--put", str(compiled))
        what = f"Linux {one.kernel} for {' '.join(name)}"
        self._say(f"the emulated host boots {what}")
        begun = time.monotonic()
        done = self._lab(*one.arguments(out, *put), capture_output=True)
        self._say(f"{what}: status {done.returncode} after {time.monotonic() - begun:.0f} s")
        assert done.returncode == 0, done.stdout + done.stderr
        folder = out / "out"
        return Scenario(one.kernel, json.loads((folder / "protocol.json").read_text()), folder)


def _needed(items: list[pytest.Item]) -> set[tuple[str, ...]]:
    return {name for item in items if (name := _machine(item))}


def _machine(item: pytest.Item) -> tuple[str, ...]:
    """The name of the machine that this test waits for; empty: none."""
    names = getattr(item, "fixturenames", ())
    params = item.callspec.params if hasattr(item, "callspec") else {}
    for name in MACHINES:
        fixture, *kernel = name
        if fixture in names and kernel in ([], [params.get(fixture)]) and not _left_out(fixture):
            return name
    return ()


def _left_out(fixture: str) -> bool:
    return fixture == "by_hand" and "SLDTRACE_BY_HAND" not in os.environ


def pytest_configure() -> None:
    """Signals that whoever started the tests ignores (nohup, a `&` in a script) are not ignored by them."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Starts the machines as soon as it is known which are needed."""
    names = _needed(session.items)
    if session.config.option.collectonly or session.testsfailed or not names:
        return
    # To the terminal itself, past pytest's capture: minutes without a word look like a hang.
    capture = session.config.pluginmanager.getplugin("capturemanager")
    capture.suspend_global_capture()
    stream = os.fdopen(os.dup(2), "w", buffering=1)
    capture.resume_global_capture()
    folder = session.config._tmp_path_factory.mktemp("machines")  # type: ignore[attr-defined]
    machines = Machines(folder, stream)
    session.config.stash[_RUNNING] = machines
    machines.begin(names)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leaves no machine behind that has not begun."""
    machines = session.config.stash.get(_RUNNING, None)
    if machines is not None:
        machines.end()


def _brought(request: pytest.FixtureRequest) -> Scenario:
    # What the machine of this fixture brought back, on its kernel if there is one for each.
    kernel = [request.param] if hasattr(request, "param") else []
    return request.config.stash[_RUNNING].result(str(request.fixturename), *kernel)


each_kernel = pytest.fixture(scope="session", params=sorted(KERNELS))


@each_kernel
def scenario(request: pytest.FixtureRequest) -> Scenario:
    """The scenario of one kernel; a test that uses it runs once for each kernel."""
    return _brought(request)


@each_kernel
def findings(request: pytest.FixtureRequest) -> Scenario:
    """What provokes each finding, on two CPUs."""
    return _brought(request)


@each_kernel
def findings_fatal(request: pytest.FixtureRequest) -> Scenario:
    """The same where split_lock_detect=fatal."""
    return _brought(request)


@pytest.fixture(scope="session")
def findings_off(request: pytest.FixtureRequest) -> Scenario:
    """The same where split_lock_detect=off."""
    return _brought(request)


@pytest.fixture(scope="session")
def limits(request: pytest.FixtureRequest) -> Scenario:
    """What was looked at on one kernel only."""
    return _brought(request)


@each_kernel
def production(request: pytest.FixtureRequest) -> Scenario:
    """One long recording on two CPUs."""
    return _brought(request)


@pytest.fixture(scope="session")
def cost(request: pytest.FixtureRequest) -> Scenario:
    """What sldtrace costs guests: sldtrace's part of benchmarks/observer.py."""
    return _brought(request)


@pytest.fixture(scope="session")
def by_hand(request: pytest.FixtureRequest) -> Scenario:
    """What takes long and runs only when it is asked for; see integration/test_by_hand.py."""
    return _brought(request)


@pytest.fixture(scope="session")
def guests_stress(request: pytest.FixtureRequest) -> Scenario:
    """Guests under every kick and stressor, on two CPUs."""
    return _brought(request)


@each_kernel
def guests_sweep(request: pytest.FixtureRequest) -> Scenario:
    """The timer swept on each kernel, with and without the penalty."""
    return _brought(request)


@each_kernel
def guests_off(request: pytest.FixtureRequest) -> Scenario:
    """Guests on each kernel, booted with split_lock_detect=off."""
    return _brought(request)


@each_kernel
def guests_fatal(request: pytest.FixtureRequest) -> Scenario:
    """Guests on each kernel, booted with split_lock_detect=fatal."""
    return _brought(request)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that wait for a machine come last, those of one machine together."""

    items.sort(key=_machine)
