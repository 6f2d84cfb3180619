"""`sldtrace report`: the verdict of a recording, for a person or as JSON."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace.errors import EXIT_FINDING, UsageError

if TYPE_CHECKING:
    from sldtrace.analyzers.finding import Severity


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
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
def report(file: Path, as_json: bool, changes: tuple[str, ...], fail_on: str | None) -> None:
    """Say what a recording shows: the verdict first, then the evidence, then what to change.

    Needs neither root nor bcc nor the host on which FILE was recorded. A damaged or unfinished FILE is read
    as far as it can be, and the report says what is missing.

    With --what-if it says for each thread that trapped whether its guest would get on under another timer,
    with the penalty switched off, or on a kernel whose penalty ignores signals (fixed-kernel), how often it
    would trap, and how much of its time it would be punished.

    \b
      sldtrace report incident.sld
      sldtrace report --what-if timer=20ms --what-if mitigate=0 incident.sld
    """
    if changes:
        if fail_on:
            raise UsageError("--what-if and --fail-on do not go together", "a prediction is no finding")
        _predict(file, changes, as_json)
        return
    shown, severities = text(file, as_json)
    click.echo(shown, nl=as_json)
    from sldtrace.analyzers.finding import Severity

    if fail_on and any(severity >= Severity[fail_on.upper()] for severity in severities):
        sys.exit(EXIT_FINDING)


def text(file: Path, as_json: bool) -> tuple[str, list["Severity"]]:
    """The report of a recording, as it is printed, and how severe each finding is. Raises SldtraceError."""
    from sldtrace.analyzers import threads
    from sldtrace.analyzers.findings import catalogue
    from sldtrace.dataset import trace as traces
    from sldtrace.reporters import json, terminal
    from sldtrace.reporters.style import Style

    trace = traces.load(file)
    findings, not_evaluated = catalogue.run(trace), catalogue.not_evaluated(trace)
    table = threads.summary(trace, findings)
    severities = [finding.severity for finding in findings]
    if as_json:
        return json.render(trace, findings, table, not_evaluated), severities
    return terminal.render(trace, findings, table, Style.of_stdout(), not_evaluated), severities


def _predict(file: Path, changes: tuple[str, ...], as_json: bool) -> None:
    from sldtrace.dataset import trace as traces
    from sldtrace.prediction import predict
    from sldtrace.reporters import what_if
    from sldtrace.reporters.style import Style

    parsed = [predict.parse(text) for text in changes]
    trace = traces.load(file)
    answers = [(change, predict.run(trace, change)) for change in parsed]
    if as_json:
        click.echo(what_if.as_json(trace, answers))
    else:
        click.echo(what_if.render(trace, answers, Style.of_stdout().width), nl=False)
