"""Changes a room's modules, one place at a time, and runs the tests that execute that place.

`python -m tests.mutants.run recording [scan ...] [--sample N]`. A change that no test notices survives: a
test is missing, or the change is equivalent (no input tells the two apart). Those that were read and found
equivalent are listed in `equivalent.txt`, with the reason.

The tests are collected once. They run once to learn which lines each executes, also in children that it
forks (but not in new programs). For each change a forked child puts the changed code into the functions that
are loaded, and runs the tests that execute the line, those of the module's own file first, until one fails.
Changes outside of functions need the module to be imported again, and are left out.
"""

import argparse
import gc
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, Phase, settings

from tests.mutants.changes import Change, changes

REPOSITORY = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).parent / "equivalent.txt"
ROOMS = ("analyzers", "capture", "kernlog", "recording")
BESIDE = {
    # What findings say is compared as a whole.
    "analyzers": ("tests/reporters/test_goldens.py", "tests/reporters/test_remedies.py"),
}
"""Tests of other rooms that are about a room."""
TESTS_S = 6.0
"""Of the tests that execute a line, those that take this long together are run (while it is watched what they
execute, which is several times as long as without)."""
LONGEST_S = 5.0
"""Tests that take longer (CPU time, while it is watched what they execute) are not run at all."""
_SPARE_S = 1.0
_UNCHANGED = 100  # tests that have to pass in a child without a change
_FAULT = 99  # the exit status of a child in which no test decided
_WAITING = 10  # times as long as its CPU time may a test wait for something


@dataclass
class Execution:
    """What one test executes: lines of each file; and how long it takes (seconds)."""

    seconds: float = 0.0
    lines: dict[str, set[int]] = field(default_factory=dict)


@dataclass
class Tally:
    """How many changes of a module were noticed, are equivalent, or survived (their names)."""

    killed: int = 0
    equivalent: int = 0
    survived: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        count = self.killed + len(self.survived)
        share = f"{100 * self.killed / count:.1f} %" if count else "-"
        return f"{self.killed} of {count} ({share}), {self.equivalent} equivalent"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Runs the tests against changed modules.")
    parser.add_argument("room", choices=ROOMS)
    parser.add_argument("modules", nargs="*", help="names of modules; all of the room if there are none")
    parser.add_argument("--sample", type=int, help="at most this number of changes of each module, at random")
    parser.add_argument("--tests", nargs="+", help="files of tests; all of the room if there are none")
    parser.add_argument("--lines", type=Path, help="a file that keeps which lines each test executes")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    options = parser.parse_args()
    os.chdir(REPOSITORY)
    settings.register_profile(
        "mutants",
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with tempfile.TemporaryDirectory() as folder:
        run = _Run(options, Path(folder))
        arguments = ["-o", "addopts=--import-mode=importlib", "-m", "not lab and not service"]
        arguments += ["-s", "-p", "no:cacheprovider", "-p", "no:terminal"]
        arguments += ["--hypothesis-profile", "mutants", "--basetemp", f"{folder}/tests"]
        pytest.main(
            [*arguments, *(options.tests or [f"tests/{options.room}", *BESIDE.get(options.room, ())])],
            plugins=[run],
        )
    sys.exit(run.status)


class _Run:
    """A plugin of pytest: it replaces the loop that runs the tests."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.status = 1
        self._options = options
        self._folder = folder
        self._equivalent = listed(EQUIVALENT.read_text().splitlines())

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        settings.load_profile("mutants")
        items = {item.nodeid: item for item in session.items}
        print(f"{len(items)} tests of {self._options.room}", flush=True)
        tested = self._measured(items)
        names = sorted(tested, key=lambda name: tested[name].seconds)[:_UNCHANGED]
        if self._kills(None, {}, [items[name] for name in names], tested):
            raise RuntimeError("tests fail without a change, too")
        tallies: dict[str, Tally] = {}
        for path in self._modules():
            tallies[str(path)] = self._module(path, items, tested)
            print(f"{path}: {tallies[str(path)]}", flush=True)
        whole = Tally()
        for tally in tallies.values():
            whole.killed += tally.killed
            whole.equivalent += tally.equivalent
            whole.survived += tally.survived
        print(f"all: {whole}", flush=True)
        self.status = bool(whole.survived)
        return True

    def _modules(self) -> list[Path]:
        paths = sorted(Path("sldtrace", self._options.room).rglob("*.py"))
        return [path for path in paths if not self._options.modules or path.stem in self._options.modules]

    def _measured(self, items: dict[str, pytest.Item]) -> dict[str, Execution]:
        """Runs all tests; of those that pass, what each executes. With --lines only those not in its file."""
        kept: Path | None = self._options.lines
        found: dict[str, Execution] = pickle.loads(kept.read_bytes()) if kept and kept.exists() else {}
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            os.close(ours)
            with os.fdopen(theirs, "wb") as pipe:
                pickle.dump(self._measure([item for name, item in items.items() if name not in found]), pipe)
            os._exit(0)
        os.close(theirs)
        with os.fdopen(ours, "rb") as pipe:
            found |= pickle.load(pipe)
        os.waitpid(child, 0)
        if kept:
            kept.write_bytes(pickle.dumps(found))
        missing = [name for name in items if name not in found]
        print(f"{len(missing)} of them fail or take long: {', '.join(missing)}", flush=True)
        return {name: found[name] for name in items if name in found}

    def _measure(self, items: Sequence[pytest.Item]) -> dict[str, Execution]:
        found: dict[str, Execution] = {}
        self._silence()
        signal.signal(signal.SIGPROF, _too_long)
        room = str(REPOSITORY / "sldtrace" / self._options.room) + "/"
        children = os.memfd_create("lines")
        for item, following in zip_longest(items, items[1:]):
            tested = Execution()
            os.ftruncate(children, 0)
            os.lseek(children, 0, os.SEEK_SET)
            trace = _tracer(room, tested.lines, children)
            begun = time.process_time()
            threading.settrace(trace)
            sys.settrace(trace)
            signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
            try:
                passed = _passes(item, following)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
                sys.settrace(None)
                threading.settrace(None)
            tested.seconds = time.process_time() - begun
            for name, line in _lines(os.pread(children, 1 << 24, 0)):
                tested.lines.setdefault(name, set()).add(line)
            if passed:
                found[item.nodeid] = tested
        return found

    def _module(self, path: Path, items: dict[str, pytest.Item], tested: dict[str, Execution]) -> Tally:
        source = str(REPOSITORY / path)
        functions = functions_of(source)
        found = [
            each for each in changes(path.read_text(), source) if each.function and fits(each, functions)
        ]
        if self._options.sample and len(found) > self._options.sample:
            found = random.Random(self._options.seed).sample(found, self._options.sample)
        tally = Tally()
        for change in found:
            if f"{path}: {change.name}" in self._equivalent:
                tally.equivalent += 1
                continue
            chosen = chosen_tests(source, change.line, tested)
            chosen = chosen or chosen_tests(source, change.statement, tested)
            if chosen and self._kills(change, functions, [items[name] for name in chosen], tested):
                tally.killed += 1
            else:
                tally.survived.append(change.name)
                print(f"{path}:{change.line}: {change.name}{'' if chosen else '  (no test)'}", flush=True)
        return tally

    def _kills(
        self,
        change: Change | None,
        functions: dict[str, list[FunctionType]],
        items: Sequence[pytest.Item],
        tested: dict[str, Execution],
    ) -> bool:
        child = os.fork()
        if not child:
            os.setpgid(0, 0)
            status = _FAULT
            try:
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                self._silence()
                if change is not None:
                    exchange(change, functions)
                status = 1
                status = not all(
                    _passes_in_time(item, following, tested[item.nodeid].seconds)
                    for item, following in zip_longest(items, items[1:])
                )
            finally:
                os._exit(status)
        seconds = sum(tested[item.nodeid].seconds + _SPARE_S for item in items)
        status = _waited(child, _WAITING * seconds)
        shutil.rmtree(self._folder / "tests", ignore_errors=True)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _FAULT:
            raise RuntimeError(f"{change and change.name}: the tests could not be run")
        return status != 0

    def _silence(self) -> None:
        with open(os.devnull, "r+b") as null:
            for file in (0, 1, 2):
                os.dup2(null.fileno(), file)
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        (self._folder / "tests").mkdir(exist_ok=True)


def listed(lines: Iterable[str]) -> set[str]:
    """The changes of a list: one a line, the reason on the lines below it, which are indented."""
    return {line.rstrip() for line in lines if line.strip() and not line.startswith((" ", "#"))}


def chosen_tests(source: str, line: int, tested: dict[str, Execution]) -> list[str]:
    """The tests that execute that line, the module's own first, the short ones first, for TESTS_S."""
    executing = {name: each.seconds for name, each in tested.items() if line in each.lines.get(source, ())}
    own = f"/test_{Path(source).stem}"
    chosen: list[str] = []
    seconds = 0.0
    for name in sorted(executing, key=lambda name: (own not in name, executing[name])):
        seconds += executing[name]
        if chosen and seconds > TESTS_S:
            break
        chosen.append(name)
    return chosen


def functions_of(source: str) -> dict[str, list[FunctionType]]:
    """The functions that were loaded from a file, by qualified name."""
    found: dict[str, list[FunctionType]] = {}
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename == source:
            found.setdefault(each.__code__.co_qualname, []).append(each)
    return found


def fits(change: Change, functions: dict[str, list[FunctionType]]) -> bool:
    """Can its code take the place of the loaded one? Without super() it has a variable less of a class."""
    return all(
        code.co_freevars == function.__code__.co_freevars for function, code in _places(change, functions)
    )


def exchange(change: Change, functions: dict[str, list[FunctionType]]) -> None:
    """Puts the changed code into the functions that have it."""
    for function, code in _places(change, functions):
        function.__code__ = code


def _places(
    change: Change, functions: dict[str, list[FunctionType]]
) -> Iterable[tuple[FunctionType, CodeType]]:
    for code in _codes(change.code):
        if code.co_qualname == change.function:
            for function in functions[change.function]:
                if function.__code__.co_firstlineno == code.co_firstlineno:
                    yield function, code


def _codes(code: CodeType) -> Iterable[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _codes(each)


# children: a file, for what forked children execute; they may end at any time.
def _tracer(room: str, lines: dict[str, set[int]], children: int) -> Callable[[FrameType, str, Any], Any]:
    ours = os.getpid()

    def called(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(room):
            return None
        seen = lines.setdefault(name, set())

        def ran(frame: FrameType, event: str, argument: Any) -> Any:
            if frame.f_lineno not in seen:
                seen.add(frame.f_lineno)
                if os.getpid() != ours:
                    os.write(children, f"{frame.f_lineno} {name}\n".encode())
            return ran

        return ran

    return called


def _lines(written: bytes) -> Iterable[tuple[str, int]]:
    for each in written.decode().splitlines():
        line, _, name = each.partition(" ")
        yield name, int(line)


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"the test takes more than {LONGEST_S} s")


def _passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    reports = runtestprotocol(item, log=False, nextitem=following)
    return not any(report.failed for report in reports)


# The process ends by SIGPROF where the test takes much longer than without the change.
def _passes_in_time(item: pytest.Item, following: pytest.Item | None, seconds: float) -> bool:
    signal.setitimer(signal.ITIMER_PROF, 2 * seconds + _SPARE_S)
    return _passes(item, following)


def _waited(child: int, seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.002)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


if __name__ == "__main__":
    main()
