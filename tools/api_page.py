"""Makes the tables of docs/api.md from the columns that the code declares: python -m tools.api_page."""

from collections.abc import Mapping

from sldtrace import api
from sldtrace.dataset.frames import Column
from tools import format_page

PAGE = format_page.PAGE.with_name("api.md")
BEGIN = "<!-- made by python -m tools.api_page from bpf/events.h and sldtrace/: do not edit -->"


def tables() -> str:
    """The Markdown between the markers: one table for each DataFrame."""
    names = [*api.RECORDS, "exit_counts", "threads", "findings_table"]
    lines = [line for name in names for line in _section(name, api.columns(name))]
    return "\n".join([*lines, *_section("Fleet.hosts", api.HOSTS)])


def updated(page: str) -> str:
    """The page with fresh tables; raises SldtraceError when it lacks the markers."""
    return format_page.filled(page, BEGIN, tables())


def _section(name: str, columns: Mapping[str, Column]) -> list[str]:
    kind = f": records of the kind `{api.RECORDS[name]}`" if name in api.RECORDS else ""
    rows = [[f"`{key}`", each.dtype, each.unit, each.meaning] for key, each in columns.items()]
    return [f"### `{name}`{kind}", "", *format_page.table(["column", "type", "unit", "meaning"], rows), ""]


if __name__ == "__main__":
    format_page.write(PAGE, updated)
