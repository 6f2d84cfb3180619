"""The walk-throughs: each kind of finding has one."""

from pathlib import Path

from sldtrace.analyzers.findings import catalogue

README = Path(__file__).parents[2] / "examples" / "README.md"


def test_every_kind_of_finding_has_a_part() -> None:
    text = README.read_text()
    assert [one.kind for one in catalogue.ANALYZERS if f"calls it `{one.kind}`" not in text] == []
