"""All analyzers together: each is run, and the worst finding comes first."""

from pathlib import Path
from types import ModuleType

import pytest

from sldtrace.analyzers.finding import Severity
from sldtrace.analyzers.findings import catalogue
from sldtrace.analyzers.needs import Needs
from tests.analyzers.synthetic import LONGEST, MS, START_NS, completed, lasting, trace, window


def test_every_analyzer_is_in_the_catalogue() -> None:
    folder = Path(catalogue.__file__).parent
    analyzers = {path.stem for path in folder.glob("*.py") if "\ndef find(" in path.read_text()}
    assert {module.__name__.rpartition(".")[2] for module in catalogue.ANALYZERS} == analyzers
    kinds = [module.KIND for module in catalogue.ANALYZERS]
    assert len(set(kinds)) == len(kinds)


def test_the_worst_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = lasting(2 * LONGEST, 30, tid=301) + lasting(9 * LONGEST, 30, tid=302)
    recorded = trace(tmp_path, rows)
    found = catalogue.run(recorded)
    assert [finding.severity for finding in found] == [Severity.CRITICAL, Severity.WARNING]

    # The order is the catalogue's own, whatever the order in which an analyzer gives them.
    backwards = ModuleType("backwards")
    backwards.find = lambda trace: found[::-1]  # type: ignore[attr-defined]
    backwards.KIND = "backwards"  # type: ignore[attr-defined]
    backwards.NEEDS = Needs(("trap",))  # type: ignore[attr-defined]
    monkeypatch.setattr(catalogue, "ANALYZERS", (backwards,))
    assert catalogue.run(recorded) == found


def test_that_a_thread_is_slowed_comes_behind_why(tmp_path: Path) -> None:
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
