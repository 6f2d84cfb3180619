"""Reports of recordings in every format, for tests."""

import json
from typing import Any

from sldtrace.analyzers import threads
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.trace import Trace
from sldtrace.reporters import report
from sldtrace.reporters.document import Report
from sldtrace.reporters.formats import FORMATS
from sldtrace.reporters.style import Style


def built(recorded: Trace, with_pictures: bool = False) -> Report:
    """The report, complete."""
    findings = catalogue.run(recorded)
    table = threads.summarize(recorded, findings)
    return report.build(
        recorded, findings, table, catalogue.not_evaluated(recorded), with_pictures=with_pictures
    )


def as_text(content: Report, width: int = 80, colour: bool = False) -> str:
    """For people."""
    return FORMATS["text"].render(content, Style(width, colour))


def as_json(content: Report) -> str:
    """For programs."""
    return FORMATS["json"].render(content, Style())


def text(recorded: Trace, width: int = 80, colour: bool = False) -> str:
    """The report of a recording for people."""
    return as_text(built(recorded), width, colour)


def parsed(recorded: Trace) -> dict[str, Any]:
    """The report of a recording for programs, read back."""
    content: dict[str, Any] = json.loads(as_json(built(recorded)))
    return content
