"""`sldtrace report`: what a recording shows, for a person or as JSON."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace.commands import output as outputs
from sldtrace.errors import EXIT_FINDING, UsageError
from sldtrace.reporters.formats import FORMATS

if TYPE_CHECKING:
    from sldtrace.analyzers.finding import Severity
    from sldtrace.reporters.document import Report


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@outputs.options(*FORMATS)
@click.option(
    "--what-if",
    "changes",
    multiple=True,
    metavar="CHANGE",
    help="Predict instead: timer=20ms, timer=none, mitigate=0, mitigate=1, fixed-kernel, or several "
    "with commas; may be given more than once.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["notice", "warning", "critical"]),
    help="Exit with status 3 if there is a finding of at least this severity.",
)
def report(file: Path, form: str, output: Path | None, changes: tuple[str, ...], fail_on: str | None) -> None:
    """Print what a recording shows: the verdict first, then the evidence, then what to change.

    Needs neither root nor bcc nor the host on which FILE was recorded. A damaged or unfinished FILE is read
    as far as it can be, and the report says what is missing.

    With --what-if it predicts for each thread that trapped whether it would make progress under another
    timer, without the penalty, or on a kernel whose penalty ignores signals (fixed-kernel), how often it
    would trap, and how much of its time it would be penalized.

    \b
    Examples:
      sldtrace report incident.sld
      sldtrace report --format json --output incident.json incident.sld
      sldtrace report --what-if timer=20ms --what-if mitigate=0 incident.sld
    """
    outputs.check(output)
    if changes:
        if fail_on:
            raise UsageError("--what-if and --fail-on exclude each other", "a prediction is not a finding")
        outputs.write(outputs.render(_predict(file, changes), form, output), output)
        return
    content, severities = build(file)
    outputs.write(outputs.render(content, form, output), output)
    from sldtrace.analyzers.finding import Severity

    if fail_on and any(severity >= Severity[fail_on.upper()] for severity in severities):
        sys.exit(EXIT_FINDING)


def build(file: Path) -> tuple["Report", list["Severity"]]:
    """The report of a recording, and the severity of each finding. Raises SldtraceError."""
    from sldtrace.analyzers import threads
    from sldtrace.analyzers.findings import catalogue
    from sldtrace.dataset import trace as traces
    from sldtrace.reporters import report as reports

    trace = traces.load(file)
    findings = catalogue.run(trace)
    table = threads.summarize(trace, findings)
    content = reports.build(trace, findings, table, catalogue.not_evaluated(trace))
    return content, [finding.severity for finding in findings]


def _predict(file: Path, changes: tuple[str, ...]) -> "Report":
    from sldtrace.dataset import trace as traces
    from sldtrace.prediction import predict
    from sldtrace.reporters import what_if

    parsed = [predict.parse(text) for text in changes]
    trace = traces.load(file)
    return what_if.build(trace, [(change, predict.run(trace, change)) for change in parsed])
