"""`sldtrace compare`: two recordings, before and after a change."""

import sys
from pathlib import Path

import click

from sldtrace.commands import output as outputs
from sldtrace.commands import recordings
from sldtrace.errors import EXIT_FINDING, EXIT_UNKNOWN
from sldtrace.reporters.formats import FORMATS

_EXPECTED = ("same", "better", "fixed")


@click.command()
@click.argument("before", type=click.Path(path_type=Path, readable=False))
@click.argument("after", type=click.Path(path_type=Path, readable=False))
@outputs.options(*FORMATS)
@click.option(
    "--expect",
    type=click.Choice(_EXPECTED),
    help="Exit with status 3 if the outcome is not at least this good.",
)
@recordings.redact
def compare(
    before: Path, after: Path, form: str, output: Path | None, expect: str | None, redact: bool
) -> None:
    """Say whether a change helped: fixed, better, same, worse, cannot tell, or not comparable and why.

    BEFORE and AFTER are recordings, or directories with the recordings of one boot of a host. vCPUs are
    matched by VM, vCPU and address. Both recordings should be of the same work: the longer they are, the
    smaller is the difference that can be seen.

    \b
    Examples:
      sldtrace compare before.sld after.sld
      sldtrace compare --expect fixed before.sld after.sld && echo solved
      sldtrace compare --format html -o change.html before.sld after.sld
    """
    from sldtrace.comparison import compare as comparisons
    from sldtrace.comparison.measure import measure
    from sldtrace.reporters import compare as reports

    outputs.check(output)
    redactor = recordings.redactor() if redact else None
    with recordings.open_one([before], redactor) as one, recordings.open_one([after], redactor) as two:
        first, second = measure(one), measure(two)
        found = comparisons.compare(first, second)
        outputs.write(outputs.render(reports.build(found, first, second), form, output), output)
    if found.outcome in (comparisons.Outcome.NOT_COMPARABLE, comparisons.Outcome.CANNOT_TELL):
        sys.exit(EXIT_UNKNOWN)
    order = list(comparisons.Outcome)
    if expect and order.index(found.outcome) < order.index(comparisons.Outcome(expect)):
        sys.exit(EXIT_FINDING)
