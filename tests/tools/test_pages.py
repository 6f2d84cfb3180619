"""The documentation's links lead somewhere, what is made in it is up to date, and the README stays short."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tools import limits_page, outputs_page

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Target and anchor of each link to a file of the project."""
    for target in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield (page.parent / path if path else page), anchor


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", _without_blocks(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    broken = [
        f"{target.resolve().relative_to(ROOT)}#{anchor}"
        for target, anchor in links(page)
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]
    assert broken == []


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {target.resolve() for target, _ in links(index)}
    assert set((ROOT / "docs").glob("*.md")) - linked == {index}


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120


def test_outputs_are_those_of_today() -> None:
    """If not: make docs."""
    old = []
    for page in outputs_page.pages():
        text = page.read_text(encoding="utf-8")
        if outputs_page.updated(text) != text:
            old.append(page.name)
    assert old == []


def test_each_output_is_shown() -> None:
    shown = {name for page in outputs_page.pages() for name in outputs_page.names(page.read_text())}
    assert shown == set(outputs_page.OUTPUTS)


def test_a_command_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="status 2: Usage"):
        outputs_page.run("sldtrace report", str(tmp_path))


def test_the_table_of_timers_is_that_of_the_model() -> None:
    page = limits_page.PAGE.read_text(encoding="utf-8")
    assert limits_page.updated(page) == page, "run python -m tools.limits_page"
    assert ["6.12 and later", "250", "12 to 16 ms", "8 ms apart", "12 ms apart"] in list(limits_page.rows())
