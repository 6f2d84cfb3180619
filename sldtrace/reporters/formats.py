"""The formats of reports: one reporter each. A new one is a module with its class and an entry in `_ALL`."""

from collections.abc import Mapping
from typing import Protocol

from sldtrace.reporters.document import Report
from sldtrace.reporters.html import HtmlReporter
from sldtrace.reporters.json import JsonReporter
from sldtrace.reporters.style import Style
from sldtrace.reporters.text import TextReporter


class Reporter(Protocol):
    """Renders reports in one format, and decides nothing about what they say."""

    name: str
    """As `--format` has it."""
    extension: str
    """Of a file, without a dot."""
    pictures: bool
    """Does it show the pictures? They are not made for the others."""

    def check(self) -> None:
        """Raises SldtraceError if something that it needs is not installed."""

    def render(self, report: Report, style: Style) -> str:
        """The report; `style` is for formats that a terminal shows."""


_ALL: tuple[Reporter, ...] = (TextReporter(), JsonReporter(), HtmlReporter())

FORMATS: Mapping[str, Reporter] = {each.name: each for each in _ALL}
"""All of them, by name."""
