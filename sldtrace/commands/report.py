"""`sldtrace report`: the verdict of a recording, for a person or as JSON."""

import sys
from pathlib import Path

import click

from sldtrace.errors import EXIT_FINDING


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option(
    "--fail-on",
    type=click.Choice(["notice", "warning", "critical"]),
    help="Exit with status 3 if there is a finding of at least this severity.",
)
def report(file: Path, as_json: bool, fail_on: str | None) -> None:
    """Say what a recording shows: the verdict first, then the evidence, then what to change.

    Needs neither root nor bcc nor the host on which FILE was recorded. A damaged or unfinished FILE is read
    as far as it can be, and the report says what is missing.
    """
    from sldtrace import trace as traces
    from sldtrace.analyzers import catalogue, threads
    from sldtrace.analyzers.finding import Severity
    from sldtrace.reporters import json, terminal

    trace = traces.load(file)
    findings = catalogue.run(trace)
    table = threads.summary(trace)
    if as_json:
        click.echo(json.render(trace, findings, table))
    else:
        click.echo(terminal.render(trace, findings, table, terminal.Style.of_stdout()), nl=False)
    if fail_on and any(finding.severity >= Severity[fail_on.upper()] for finding in findings):
        sys.exit(EXIT_FINDING)
