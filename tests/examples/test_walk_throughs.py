"""The walk-throughs: each kind of finding has one."""

from pathlib import Path

from sldtrace.analyzers.findings import catalogue
from tests.analyzers.findings.documented import NOT_YET, provoked

README = Path(__file__).parents[2] / "examples" / "README.md"


def test_every_kind_of_finding_has_a_part() -> None:
    text, texts = README.read_text(), provoked()
    kinds = [one.kind for one in catalogue.ANALYZERS if not texts[one.kind].startswith(NOT_YET)]
    assert len(kinds) >= 12
    assert [kind for kind in kinds if f"calls it `{kind}`" not in text] == []
