"""`sldtrace fleet`: the recordings of many hosts: who is affected, and what to fix first."""

import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace.commands import output as outputs
from sldtrace.commands import recordings
from sldtrace.commands.progress import Progress
from sldtrace.errors import EXIT_FINDING, EXIT_UNKNOWN, EXIT_UNREADABLE, SldtraceError, UsageError
from sldtrace.reporters.formats import FORMATS
from sldtrace.text.phrases import plural

if TYPE_CHECKING:
    from sldtrace.fleet.summary import Summary

_MOST_JOBS = 64


@click.command()
@click.argument("places", metavar="PATH|URL...", nargs=-1, required=True)
@outputs.options(*FORMATS)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, _MOST_JOBS),
    help="How many processes to use. Default: one for each CPU.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Use the workers of this Dask scheduler (tcp://HOST:PORT) instead: they must see the same places.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["notice", "warning", "critical"]),
    help="Exit with status 3 if there is a finding of at least this severity.",
)
@recordings.redact
def fleet(
    places: tuple[str, ...],
    form: str,
    output: Path | None,
    jobs: int | None,
    scheduler: str | None,
    fail_on: str | None,
    redact: bool,
) -> None:
    """Compare the recordings of many hosts: who is affected, how much time is lost, and what to fix first.

    Reads all recordings at each PATH, with subdirectories, and the objects named *.sld at each URL
    (s3://BUCKET/PREFIX; needs pip install 'sldtrace[fleet]'). Hosts are distinguished by their names. The
    recordings of one boot of a host are read as one, as sldtrace report does.

    If a file cannot be read, the output says why, and the exit status is 4. With --fail-on it is 5 if a
    recording is incomplete and there is no such finding.

    \b
    Examples:
      sldtrace fleet /srv/recordings
      sldtrace fleet --format json -o fleet.json s3://recordings/2026-11
      sldtrace fleet --scheduler tcp://10.0.0.1:8786 s3://recordings
      sldtrace fleet --redact --format html -o fleet.html /srv/recordings
    """
    from sldtrace.analyzers.finding import Severity
    from sldtrace.fleet import run, sources
    from sldtrace.fleet.summary import Summary
    from sldtrace.reporters import fleet as reports

    outputs.check(output)
    if scheduler and jobs:
        raise UsageError("--scheduler and --jobs exclude each other", "Dask has as many workers as it has")
    listing = sources.find(places)
    summary = Summary()
    if listing.files or listing.unreadable:
        where = run.cluster(scheduler) if scheduler else run.local(_jobs(jobs, len(listing.files)))
        with where as executor, _Stages() as bar:
            key = secrets.token_bytes(16) if redact else None
            summary = run.summarize(listing, executor, bar.start, bar.update, key)
    if not summary.hosts:
        raise _nothing(summary, places)
    outputs.write(outputs.render(reports.build(summary, listing.others), form, output), output)
    if summary.unreadable.count:
        files = plural(summary.unreadable.count, "file")
        click.echo(f"sldtrace: {files} could not be read; the output names them", err=True)
    if fail_on and summary.severity >= Severity[fail_on.upper()]:
        sys.exit(EXIT_FINDING)
    if summary.unreadable.count:
        sys.exit(EXIT_UNREADABLE)
    if fail_on and summary.incomplete:
        sys.exit(EXIT_UNKNOWN)


def _jobs(wanted: int | None, files: int) -> int:
    return min(wanted or len(os.sched_getaffinity(0)), max(files, 1), _MOST_JOBS)


class _Stages:
    # A bar for each stage of the work, whose length is known when it begins.
    def __enter__(self) -> "_Stages":
        self._bar: Progress | None = None
        return self

    def __exit__(self, *details: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)

    def start(self, label: str, length: int) -> None:
        self.__exit__()
        self._bar = Progress(label, length)

    def update(self, steps: int) -> None:
        if self._bar is not None:
            self._bar.update(steps)


def _nothing(summary: "Summary", places: tuple[str, ...]) -> SldtraceError:
    from sldtrace.text.escape import escape

    unread = summary.unreadable
    if unread.count == 1:
        return SldtraceError(unread.entries[0].reason)
    if unread.count:
        return SldtraceError(
            f"none of {plural(unread.count, 'file')} can be read; the first: {unread.entries[0].reason}"
        )
    where = escape(places[0], 4096) + (f" and {len(places) - 1} more places" if len(places) > 1 else "")
    return SldtraceError(
        f"there is no recording in {where}", "name directories or URLs with files of sldtrace record"
    )
