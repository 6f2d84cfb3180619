"""All analyzers together: each is run, and the worst finding comes first."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Numbers, Severity
from sldtrace.analyzers.findings import catalogue
from sldtrace.analyzers.needs import Needs
from tests.analyzers.findings import documented
from tests.analyzers.synthetic import LONGEST, MS, START_NS, completed, lasting, trace, window


def test_every_analyzer_is_in_the_catalogue() -> None:
    folder = Path(catalogue.__file__).parent
    names = [path.stem for path in folder.glob("*.py") if "\ndef find(" in path.read_text()]
    modules = [import_module(f"{catalogue.__package__}.{name}") for name in names]
    analyzers = [each for module in modules for each in _analyzers(module)]
    assert {id(each) for each in analyzers} == {id(each) for each in catalogue.ANALYZERS}
    kinds = [analyzer.kind for analyzer in catalogue.ANALYZERS]
    assert len(set(kinds)) == len(kinds)


def test_every_finding_has_a_test_file() -> None:
    folder, tests = Path(catalogue.__file__).parent, Path(__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert {f"test_{name}.py" for name in modules} <= {path.name for path in tests.glob("*.py")}


def test_every_finding_is_in_the_documentation() -> None:
    page = documented.PAGE.read_text(encoding="utf-8")
    rows = {each.kind: page.count(f"\n| `{each.kind}` | ") for each in catalogue.ANALYZERS}
    assert [kind for kind, count in rows.items() if count < 2] == []  # what it is, and how it is provoked
    assert documented.provoked().keys() == rows.keys()


def _analyzers(module: ModuleType) -> tuple[Analyzer[Numbers], ...]:
    several: tuple[Analyzer[Numbers], ...] = getattr(module, "ANALYZERS", ())
    return several or (module.ANALYZER,)


def test_the_worst_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = lasting(2 * LONGEST, 30, tid=301) + lasting(9 * LONGEST, 30, tid=302)
    recorded = trace(tmp_path, rows)
    found = catalogue.run(recorded)
    assert [finding.severity for finding in found] == [Severity.CRITICAL, Severity.WARNING]

    # The order is the catalogue's own, whatever the order in which an analyzer gives them.
    backwards = Analyzer(
        "backwards", "in the other order", Needs(("trap",)), Numbers, lambda trace: found[::-1]
    )
    monkeypatch.setattr(catalogue, "ANALYZERS", (backwards,))
    assert catalogue.run(recorded) == found


def test_a_cause_comes_before_the_slowdown(tmp_path: Path) -> None:
    """Both are warnings; detection comes back a millisecond after each penalty."""
    rows = [completed(index * 20 * MS) for index in range(20)]
    ends = [row["end_ns"] - START_NS for row in rows]
    recorded = trace(tmp_path, rows, detection=[write for end in ends for write in window(end, end + MS)])
    assert [(each.kind, each.severity) for each in catalogue.run(recorded)] == [
        ("toggle-storm", Severity.WARNING),
        ("penalty-slowdown", Severity.WARNING),
    ]


def test_severities_are_in_order() -> None:
    assert Severity.NOTICE < Severity.WARNING < Severity.CRITICAL
