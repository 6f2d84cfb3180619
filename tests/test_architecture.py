"""The imports between folders are those of the table in docs/architecture.md, whose rows run one way."""

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "sldtrace"
TREES = (PACKAGE, "tools", "lab", "examples", "guests", "benchmarks")

Table = dict[str, set[str]]


def rows(page: str) -> list[tuple[list[str], set[str]]]:
    """The table's rows, in order: the names of the first cell, and those of the last."""
    start = page.index("| folder |")
    lines = page[start : page.index("\n\n", start)].splitlines()[2:]
    cells = [line.strip("|").split("|") for line in lines]
    return [(re.findall(r"`([^`]+)`", first), set(re.findall(r"[\w./]+", last))) for first, _, last in cells]


def declared() -> list[tuple[list[str], set[str]]]:
    return rows((ROOT / "docs" / "architecture.md").read_text())


def place(file: Path) -> str:
    """The name that the table has for a source file: its folder, or the file itself in the package's root."""
    path = file.relative_to(ROOT)
    if path.parts[0] != PACKAGE:
        return str(path.parent)
    return path.name if len(path.parts) == 2 else str(path.parent.relative_to(PACKAGE))


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the trees, by its dotted name."""
    found = {}
    for tree in TREES:
        for file in (root / tree).rglob("*.py"):
            parts = file.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(code: str, known: set[str]) -> set[str]:
    """The modules that code imports, wherever the statement is; submodules where `known` has them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in known else str(node.module))
    return found


def used() -> Table:
    """What each place imports of other places, and of packages outside the standard library."""
    files = modules()
    found: Table = defaultdict(set)
    for file in files.values():
        here = place(file)
        for name in imports(file.read_text(), set(files)):
            top = name.partition(".")[0]
            if name in files:
                found[here].add(place(files[name]))
            elif top not in sys.stdlib_module_names:
                assert top not in TREES, f"{file}: no module {name}"
                found[here].add(top)
        found[here].discard(here)
    return found


def arrows(table: list[tuple[list[str], set[str]]], found: Table) -> tuple[set[str], set[str]]:
    """`folder -> folder` of every row, as the table declares them and as the code has them.

    The first row may be imported everywhere, without being named.
    """
    everywhere = set(table[0][0])
    wanted, real = set(), set()
    for first, imported in table:
        row = ", ".join(first)
        code = set().union(*(found[name] for name in first)) - set(first) - everywhere
        wanted |= {f"{row} -> {name}" for name in imported}
        real |= {f"{row} -> {name}" for name in code}
    return wanted, real


def test_every_folder_has_one_row() -> None:
    names = [name for first, _ in declared() for name in first]
    assert sorted(names) == sorted({place(file) for file in modules().values()})


def test_rows_import_only_rows_above() -> None:
    seen: set[str] = set()
    every = {name for first, _ in declared() for name in first}
    for first, imported in declared():
        assert imported & every <= seen, f"{first}: {imported & every - seen} is not above"
        seen |= set(first)


def test_imports_are_those_of_the_table() -> None:
    wanted, real = arrows(declared(), used())
    assert sorted(real - wanted) == [], "imports that docs/architecture.md does not have"
    assert sorted(wanted - real) == [], "docs/architecture.md has them, the code does not"


def test_imports_are_found_wherever_they_are() -> None:
    code = (
        "import numpy as np\n"
        "from a import b, thing\n"
        "from a.c import other\n"
        "if TYPE_CHECKING:\n    from a.d import Type\n"
        "def work():\n    import a.e\n"
    )
    assert imports(code, {"a", "a.b", "a.c", "a.d", "a.e"}) == {"numpy", "a", "a.b", "a.c", "a.d", "a.e"}


def test_rows_of_a_table() -> None:
    page = (
        "| folder | for | imports |\n|---|---|---|\n| `a.py`, `b` | x | |\n| `c/d` | y | `b`, numpy |\n\nText"
    )
    assert rows(page) == [(["a.py", "b"], set()), (["c/d"], {"b", "numpy"})]


def test_an_import_that_is_not_in_the_table_is_found() -> None:
    table: list[tuple[list[str], set[str]]] = [(["a.py"], set()), (["b"], {"numpy"}), (["c"], {"b"})]
    wanted, real = arrows(table, {"a.py": set(), "b": {"numpy", "a.py"}, "c": {"a.py", "pandas"}})
    assert (wanted - real, real - wanted) == ({"c -> b"}, {"c -> pandas"})
