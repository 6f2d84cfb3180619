"""What is changed in a module, and that a changed function takes the place of a loaded one."""

import importlib.util
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.mutants import run
from tests.mutants.changes import changes
from tests.mutants.run import EQUIVALENT, REPOSITORY, ROOMS, Execution


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(a):\n    return a < 3", ["f: a < 3 -> a <= 3", "f: a < 3 -> a < 4"]),
        ("def f(a):\n    if a:\n        g()", ["f: a -> not a", "f: g() -> None"]),
        ("def f(a, b):\n    return a and b", ["f: a and b -> a or b"]),
        ("def f(a):\n    return not a", ["f: not a -> not not a"]),
        ("def f(a):\n    return a + a + a", ["f: a + a + a -> a + a - a", "f: a + a -> a - a"]),
        ("def f(a):\n    a()\n    a()", ["f: a() -> None", "f: a() -> None"]),
        ("def f(a):\n    return a(b=True)", ["f: a(b=True) -> a(b=False)"]),
        ("class A:\n    def f(a):\n        return max(a)", ["A.f: max(a) -> min(a)"]),
        ("def f(a):\n    for each in a:\n        break", ["f: break -> continue"]),
        ("def f(a):\n    return zip(a, strict=True)", []),
        ("def f(a: int | None = None) -> A | B:\n    'x'\n    raise E(3)", []),
        ("def f(a):\n    def g():\n        return a == 'x'\n    return g", ["f: a == 'x' -> a != 'x'"]),
        ("X = 3", ["module: X = 3 -> X = 4"]),
    ],
)
def test_changes_of_a_module(source: str, found: list[str]) -> None:
    names = [change.name.removesuffix(" #2") for change in changes(source, "x.py")]
    assert sorted(names) == sorted(found)


def test_each_change_has_a_name_of_its_own() -> None:
    path = REPOSITORY / "sldtrace/recording/scan.py"
    names = [change.name for change in changes(path.read_text(), str(path))]
    assert len(names) == len(set(names)) > 50


def test_a_changed_function_takes_the_place_of_the_loaded_one(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    source = "class A:\n    @property\n    def f(self):\n        return self.a < 3\n"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("module", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    one = module.A()
    one.a = 3
    assert not one.f
    functions = run.functions_of(str(path))
    for change in changes(source, str(path)):
        run.exchange(change, functions)
        assert one.f


def test_the_modules_own_and_the_shortest_tests_that_execute_a_line_are_run() -> None:
    tested = {
        "tests/test_b.py::long": Execution(4, {"a.py": {1, 2}}),
        "tests/test_b.py::short": Execution(0.5, {"a.py": {1}}),
        "tests/test_b.py::other": Execution(0, {"b.py": {1}}),
        "tests/test_b.py::longest": Execution(7, {"a.py": {1, 3}}),
        "tests/test_a.py::own": Execution(1, {"a.py": {1}}),
    }
    names = [name.partition("::")[2] for name in run.chosen_tests("a.py", 1, tested)]
    assert names == ["own", "short", "long"]
    assert run.chosen_tests("a.py", 3, tested) == ["tests/test_b.py::longest"]
    assert run.chosen_tests("a.py", 4, tested) == []


def test_the_list_of_equivalent_changes_names_changes_that_there_are() -> None:
    """With a reason for each of them."""
    lines = EQUIVALENT.read_text().splitlines()
    there = {
        f"{path.relative_to(REPOSITORY)}: {change.name}"
        for room in ROOMS
        for path in (REPOSITORY / "sldtrace" / room).rglob("*.py")
        if any(line.startswith(f"{path.relative_to(REPOSITORY)}: ") for line in lines)
        for change in changes(path.read_text(), str(path))
    }
    assert run.listed(lines) <= there
    for line, following in pairwise([*lines, ""]):
        assert line.startswith((" ", "#")) or following.startswith("    ")


def test_a_change_of_a_function_that_is_not_loaded_is_a_fault_of_the_tool() -> None:
    (change,) = changes("def f(a):\n    return a and b", "x.py")
    with pytest.raises(KeyError):
        run.exchange(change, {})


def test_lines_that_a_forked_child_executes_are_known(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("def f():\n    return 1\n")
    spec = importlib.util.spec_from_file_location("module", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    file = os.memfd_create("lines")
    before = sys.gettrace()
    sys.settrace(run._tracer(str(tmp_path), {}, file))
    child = os.fork()
    if not child:
        module.f()
        os._exit(0)
    sys.settrace(before)
    os.waitpid(child, 0)
    assert list(run._lines(os.pread(file, 1000, 0))) == [(str(path), 2)]
    os.close(file)


def test_a_change_that_takes_a_variable_from_a_function_does_not_fit() -> None:
    source = "class A:\n    def f(self):\n        super().f()\n        self.a()\n"
    space: dict[str, Any] = {}
    exec(compile(source, "x.py", "exec"), space)
    functions = {"A.f": [space["A"].f]}
    fitting = {change.name: run.fits(change, functions) for change in changes(source, "x.py")}
    assert fitting == {"A.f: super().f() -> None": False, "A.f: self.a() -> None": True}
