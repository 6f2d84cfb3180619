"""The table of thresholds: complete, and of findings that exist."""

import re
from pathlib import Path

from sldtrace.analyzers import thresholds
from sldtrace.analyzers.findings import catalogue
from sldtrace.model import early_returns

NUMBER = re.compile(r"^_?[A-Z_]+ = [0-9.]+$", re.MULTILINE)
SHOWN = {"_SHOWN = 5", "_SHOWN = 4", "_MOST_NAMED = 16", "_CALLERS = 16"}
"""How many threads, causes or callers a text names."""


def test_every_kind_of_finding_exists() -> None:
    kinds = {analyzer.kind for analyzer in catalogue.ANALYZERS}
    assert {kind for each in thresholds.TABLE for kind in each.findings.split(", ")} <= kinds


def test_no_finding_has_a_number_of_its_own() -> None:
    folder = Path(thresholds.__file__).parent
    found = {
        line for path in folder.rglob("*.py") for line in NUMBER.findall(path.read_text(encoding="utf-8"))
    }
    assert found == SHOWN


def test_the_thresholds_of_loops_are_all_in_the_table() -> None:
    text = Path(early_returns.__file__).read_text(encoding="utf-8")
    names = {line.split(" = ")[0] for line in NUMBER.findall(text)}
    assert len(names) == 6
    assert names <= {
        name for name in vars(thresholds) if isinstance(getattr(thresholds, name), thresholds.Threshold)
    }
    for name in names:
        assert getattr(thresholds, name).value == getattr(early_returns, name)
