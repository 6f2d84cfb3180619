"""Makes the table of thresholds in docs/report.md from the code: python -m tools.thresholds_page."""

from collections.abc import Iterable

from sldtrace.analyzers import thresholds
from sldtrace.analyzers.thresholds import Threshold
from tools import format_page

PAGE = format_page.PAGE.with_name("report.md")
BEGIN = "<!-- made by python -m tools.thresholds_page from sldtrace/analyzers/thresholds.py: do not edit -->"
_HEAD = ["finding", "what is compared", "threshold", "why"]


def table(rows: Iterable[Threshold]) -> str:
    """The Markdown between the markers."""
    return "\n".join(format_page.table(_HEAD, [_row(each) for each in rows])) + "\n"


def _row(each: Threshold) -> list[str]:
    kinds = ", ".join(f"`{kind}`" for kind in each.findings.split(", "))
    return [kinds, each.meaning, f"{each.value:g} {each.unit}", each.reason]


def updated(page: str) -> str:
    """The page with a fresh table; raises SldtraceError when it lacks the markers."""
    return format_page.filled(page, BEGIN, table(thresholds.TABLE))


if __name__ == "__main__":
    format_page.write(PAGE, updated)
