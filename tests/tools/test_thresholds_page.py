"""The table of thresholds in docs/report.md is that of the code."""

from dataclasses import replace

from sldtrace.analyzers import thresholds
from tools import thresholds_page

PAGE = thresholds_page.PAGE.read_text(encoding="utf-8")


def test_page_is_up_to_date() -> None:
    assert thresholds_page.updated(PAGE) == PAGE, "run python -m tools.thresholds_page"


def test_a_row_follows_its_threshold() -> None:
    changed = replace(thresholds.SLOWDOWN_SHARE, value=0.07, reason="tried")
    assert "| 0.07 of the thread's time | tried |" in thresholds_page.table([changed])
