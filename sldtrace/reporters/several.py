"""Several reports as one: those of the hosts and boots whose recordings were named on one command line."""

from collections.abc import Iterator, Sequence

from sldtrace.reporters import content
from sldtrace.reporters.document import Report, Section
from sldtrace.text.escape import escape


def build(
    reports: Sequence[tuple[str, Report]],
    unreadable: Sequence[content.UnreadableContent],
    notes: Sequence[str],
    not_recordings: int,
) -> Report:
    """reports: each with a name, not escaped, which is shown where there are several."""
    data = content.ReportsContent(
        version=content.VERSION,
        reports=[report.data for _, report in reports],
        unreadable=unreadable,
        notes=notes,
        not_recordings=not_recordings,
    )
    return Report(data, list(_sections(reports)))


def _sections(reports: Sequence[tuple[str, Report]]) -> Iterator[Section]:
    for number, (name, report) in enumerate(reports, 1):
        if len(reports) > 1:
            yield Section(f"--- {number} of {len(reports)}: {escape(name, 400)} ---")
        yield from report.sections
