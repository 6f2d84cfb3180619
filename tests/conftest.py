"""Boots the emulated hosts for the whole run, beside the tests that need none.

Two processes are at work all the time, as many as the machine has cores at least: this one and one machine,
and two machines from when this one waits for them.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest
from hypothesis import HealthCheck, settings

from tests import runner
from tests.machines import ALL_KERNELS, BOOT_OF, ONE_KERNEL, Machine, machines

# How long an example takes says nothing: other processes are at work, too. The examples of a commit are the
# same in each run; --hypothesis-profile=random looks for others.
_ANY_MACHINE: Any = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same examples", derandomize=True, **_ANY_MACHINE)
settings.register_profile("random", **_ANY_MACHINE)
settings.load_profile("same examples")
runner.keep_outputs_apart()

_REPOSITORY = Path(__file__).resolve().parent.parent
_RUNNING = pytest.StashKey["Machines"]()
_HEARTBEAT_S = 50.0
# Parts that take long and run only where this is in the environment.
_ASKED_FOR = {
    "by_hand": "SLDTRACE_BY_HAND",
    "findings_ratelimit": "SLDTRACE_RATELIMIT",
    "soak": "SLDTRACE_SOAK",
    "vmms": "SLDTRACE_VMMS",
    "linux_vm": "SLDTRACE_VMMS",
    "nested_vm": "SLDTRACE_VMMS",
    "fixes": "SLDTRACE_VMMS",
}


@dataclass(frozen=True)
class Scenario:
    """What one part brought back from a machine: its protocol, and the folder with its recordings."""

    kernel: str
    protocol: dict[str, Any]
    folder: Path


class Machines:
    """The runs of the machines; a part's result comes by its name and its kernel.

    Each is a process of its own, with the environment of the beginning: other tests change theirs.
    """

    def __init__(self, folder: Path, terminal: TextIO) -> None:
        self._folder = folder
        self._terminal = terminal
        self._environment = dict(os.environ)
        self._start = time.monotonic()
        self._pool = ThreadPoolExecutor(max_workers=2)
        # One at a time while there are other tests to run.
        self._width = threading.Semaphore(1)
        self._waiting = False
        self._ended = threading.Event()
        self._at_work: dict[str, str] = {}
        self._runs: dict[tuple[str, str], tuple[Machine, Future[Path]]] = {}

    def begin(self, wanted: set[tuple[str, str]]) -> None:
        """Builds what is missing, then runs the machines for (part, kernel)."""
        needed = machines(wanted)
        built = self._pool.submit(self._build, needed)
        for machine in needed:
            run = self._pool.submit(self._run, machine, built)
            self._runs |= {(part, machine.kernel): (machine, run) for part in machine.parts}
        threading.Thread(target=self._beat, daemon=True).start()

    def result(self, part: str, kernel: str) -> Scenario:
        """Waits for the machine of that part; raises what made it fail before the part was over."""
        machine, run = self._runs[part, kernel]
        if not run.done() and not self._waiting:
            self._waiting = True
            self._width.release()
        folder = run.result() / part
        protocol = folder / "protocol.json"
        if not protocol.exists():
            output = (folder.parent.parent / "said").read_text()
            pytest.fail(f"{machine} did not bring back {part}:\n{output[-20_000:]}", pytrace=False)
        return Scenario(kernel, json.loads(protocol.read_text()), folder)

    def end(self) -> None:
        """Begins nothing more."""
        self._ended.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _say(self, text: str) -> None:
        self._terminal.write(f"tests: [{time.monotonic() - self._start:6.1f} s] {text}\n")

    def _beat(self) -> None:
        """A line within each minute: a longer silence looks like a hang."""
        while not self._ended.wait(_HEARTBEAT_S):
            if at_work := dict(self._at_work):
                self._say("; ".join(f"{name}: {doing}" for name, doing in at_work.items()))

    def _build(self, needed: list[Machine]) -> None:
        kernels, roots = {each.kernel for each in needed}, {each.boot.root for each in needed}
        options = [word for kernel in sorted(kernels) for word in ("--kernel", kernel)]
        options += [word for root in sorted(roots) for word in ("--root", root)]
        command = [sys.executable, "-m", "lab", "build", *options]
        if subprocess.run(command, cwd=_REPOSITORY, env=self._environment, stderr=self._terminal).returncode:
            raise RuntimeError("the lab cannot be built; see above")

    def _run(self, machine: Machine, built: "Future[None]") -> Path:
        """Boots one machine; the folder that it brought back."""
        built.result()
        with self._width:
            if self._ended.is_set():
                raise RuntimeError("the tests have ended")
            return self._boot(machine)

    def _boot(self, machine: Machine) -> Path:
        name, begun = str(machine), time.monotonic()
        out = self._folder / f"{machine.kernel} {machine.boot.name}".replace(" ", "-")
        out.mkdir()
        command = [sys.executable, "-m", "lab", *machine.arguments(out)]
        self._at_work[name] = "boots"
        self._say(f"{name}: boots for {', '.join(machine.parts)}")
        said = []
        with subprocess.Popen(
            command,
            cwd=_REPOSITORY,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if line.startswith("part "):
                    self._at_work[name] = line.removeprefix("part ").strip()
        del self._at_work[name]
        (out / "said").write_text("".join(said))
        self._say(f"{name}: status {process.returncode} after {time.monotonic() - begun:.0f} s")
        return out / "out"


def _part(item: pytest.Item) -> tuple[str, str] | None:
    """The part that this test waits for, and the kernel."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    for name in getattr(item, "fixturenames", ()):
        if name in BOOT_OF and name in params and not _left_out(name):
            return name, str(params[name])
    return None


def _left_out(part: str) -> bool:
    return part in _ASKED_FOR and _ASKED_FOR[part] not in os.environ


def pytest_addoption(parser: pytest.Parser) -> None:
    """--all-kernels: the whole matrix."""
    parser.addoption(
        "--all-kernels",
        action="store_true",
        help=f"run all tests of the emulated host on every kernel, not only those of {ONE_KERNEL} and those"
        " that are marked with every_kernel",
    )


def pytest_configure() -> None:
    """The tests do not ignore the signals that their parent ignores (nohup, a `&` in a script)."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what does not depend on the kernel on all kernels but one.

    Tests that wait for a machine come last, those of one machine together.
    """
    out = [item for item in items if not (config.option.all_kernels or _on_this_kernel(item))]
    if out:
        config.hook.pytest_deselected(items=out)
    items[:] = sorted((item for item in items if item not in set(out)), key=_place)


def _on_this_kernel(item: pytest.Item) -> bool:
    part = _part(item)
    return part is None or part[1] == ONE_KERNEL or item.get_closest_marker("every_kernel") is not None


def _place(item: pytest.Item) -> tuple[str, str, str]:
    part = _part(item)
    return (BOOT_OF[part[0]].name, part[1], part[0]) if part else ("", "", "")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Starts the machines as soon as it is known which are needed."""
    wanted = {part for item in session.items if (part := _part(item))}
    if session.config.option.collectonly or session.testsfailed or not wanted:
        return
    if hasattr(session.config, "workerinput"):
        raise pytest.UsageError("tests of the emulated host do not run under -n; add -m 'not lab'")
    # To the terminal itself, past pytest's capture: minutes without a word look like a hang.
    capture = session.config.pluginmanager.getplugin("capturemanager")
    capture.suspend_global_capture()
    stream = os.fdopen(os.dup(2), "w", buffering=1)
    capture.resume_global_capture()
    folder = session.config._tmp_path_factory.mktemp("machines")  # type: ignore[attr-defined]
    running = Machines(folder, stream)
    session.config.stash[_RUNNING] = running
    running.begin(wanted)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leaves no machine behind that has not begun."""
    running = session.config.stash.get(_RUNNING, None)
    if running is not None:
        running.end()


part = pytest.fixture(scope="session", params=ALL_KERNELS)


def _brought(request: pytest.FixtureRequest) -> Scenario:
    return request.config.stash[_RUNNING].result(str(request.fixturename), request.param)


@part
def scenario(request: pytest.FixtureRequest) -> Scenario:
    """Both ways to attach, each with three guests; what `check` and `log` say."""
    return _brought(request)


@part
def findings(request: pytest.FixtureRequest) -> Scenario:
    """What provokes each finding, on two CPUs."""
    return _brought(request)


@part
def findings_fatal(request: pytest.FixtureRequest) -> Scenario:
    """The same where split_lock_detect=fatal."""
    return _brought(request)


@part
def findings_off(request: pytest.FixtureRequest) -> Scenario:
    """The same where split_lock_detect=off."""
    return _brought(request)


@part
def findings_ratelimit(request: pytest.FixtureRequest) -> Scenario:
    """Bus locks where split_lock_detect=ratelimit:10; only when it is asked for."""
    return _brought(request)


@part
def limits(request: pytest.FixtureRequest) -> Scenario:
    """Two recorders at once, filters, limits of time, and all that can be missing."""
    return _brought(request)


@part
def production(request: pytest.FixtureRequest) -> Scenario:
    """One long recording on two CPUs."""
    return _brought(request)


@part
def vmm(request: pytest.FixtureRequest) -> Scenario:
    """QEMU: a VM that is frozen, one that is well, one whose monitor is polled."""
    return _brought(request)


@part
def vmms(request: pytest.FixtureRequest) -> Scenario:
    """QEMU's machines and all that wakes vCPUs; only when it is asked for, see test_vmm_matrix.py."""
    return _brought(request)


@part
def linux_vm(request: pytest.FixtureRequest) -> Scenario:
    """Debian's kernel in QEMU; only when it is asked for, see test_linux_vm.py."""
    return _brought(request)


@part
def nested_vm(request: pytest.FixtureRequest) -> Scenario:
    """A guest of a guest; only when it is asked for, see test_nested_vm.py."""
    return _brought(request)


@part
def fixes(request: pytest.FixtureRequest) -> Scenario:
    """Guests on kernels with a live-patched penalty; only when it is asked for, see test_fixes.py."""
    return _brought(request)


@part
def cost(request: pytest.FixtureRequest) -> Scenario:
    """What sldtrace costs guests: sldtrace's part of benchmarks/observer.py."""
    return _brought(request)


@part
def by_hand(request: pytest.FixtureRequest) -> Scenario:
    """What takes long and runs only when it is asked for; see integration/test_by_hand.py."""
    return _brought(request)


@part
def soak(request: pytest.FixtureRequest) -> Scenario:
    """A recorder beside VMs and programs that come and go; only when it is asked for, see test_soak.py."""
    return _brought(request)


@part
def guests_stress(request: pytest.FixtureRequest) -> Scenario:
    """Guests under every kick and stressor, on two CPUs."""
    return _brought(request)


@part
def guests_sweep(request: pytest.FixtureRequest) -> Scenario:
    """The timer swept, with and without the penalty."""
    return _brought(request)


@part
def guests_off(request: pytest.FixtureRequest) -> Scenario:
    """Guests where split_lock_detect=off."""
    return _brought(request)


@part
def guests_fatal(request: pytest.FixtureRequest) -> Scenario:
    """Guests where split_lock_detect=fatal."""
    return _brought(request)
