"""The gallery in examples/README.md is what the reports and the notebook say now."""

from tools import gallery_page

PAGE = gallery_page.PAGE.read_text(encoding="utf-8")


def test_page_is_up_to_date() -> None:
    assert gallery_page.updated(PAGE) == PAGE, "run python -m tools.gallery_page"


def test_a_recording_without_a_finding_has_a_line_too() -> None:
    (title,) = gallery_page.titles(gallery_page.RECORDINGS / "lab-nothing.sld")
    assert title.startswith("NOTHING FOUND")
