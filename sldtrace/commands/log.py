"""`sldtrace log`: split locks in the kernel's log, alone or compared with a recording."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace import diagnostics
from sldtrace.commands import output as outputs
from sldtrace.commands import recordings
from sldtrace.commands.progress import Progress
from sldtrace.errors import EXIT_FINDING, EXIT_UNKNOWN, EXIT_UNREADABLE, SldtraceError
from sldtrace.reporters.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sldtrace.kernlog.join import Join
    from sldtrace.kernlog.sources import Source
    from sldtrace.kernlog.survey import Survey

_log = logging.getLogger(__name__)


@click.command()
@click.argument("files", metavar="[FILE|-]...", nargs=-1, type=click.Path(path_type=Path, readable=False))
@outputs.options(*FORMATS)
@click.option(
    "--fail-on",
    multiple=True,
    type=click.Choice(["guest-split-lock", "split-lock", "bus-lock", "kernel-split-lock"]),
    help="Exit with status 3 if the log has one; repeatable.",
)
@click.option(
    "--recording",
    type=click.Path(path_type=Path, readable=False),
    help="Match the lines with the threads of this recording, by TID and time.",
)
def log(
    files: tuple[Path, ...], form: str, output: Path | None, fail_on: tuple[str, ...], recording: Path | None
) -> None:
    """Show which VMs and programs took split locks according to the kernel's log, and what to do.

    Reads FILEs as one log, oldest first: syslog, dmesg and journalctl in all their formats, JSON of log
    shippers, /dev/kmsg, netconsole, the function tracer; packed by gzip, bzip2, xz, zstd, tar, zip or not.
    Without FILE it reads the log of the running system.

    \b
    --fail-on guest-split-lock   a guest took one, or a thread that runs a guest
    --fail-on split-lock         a thread of the host took one (#AC), a guest's or a program's
    --fail-on bus-lock           a program took a bus lock (#DB)
    --fail-on kernel-split-lock  the host's kernel itself executed one

    Exit status: 0 success, 3 the --fail-on condition holds, 4 a file is damaged, 5 the log cannot be judged:
    something in it looks like split-lock detection and is not understood, or it has no line of a kernel.

    \b
    Examples:
      sldtrace log
      sldtrace log /var/log/kern.log.2.gz /var/log/kern.log.1 /var/log/kern.log
      journalctl --boot=all _TRANSPORT=kernel -o json | sldtrace log -
      sldtrace log --recording incident.sld --format json
    """
    from sldtrace.kernlog import running_vms, sources, verdict
    from sldtrace.kernlog.survey import Survey
    from sldtrace.reporters import log as reports

    outputs.check(output)
    against = _recording(recording) if recording else None
    survey = Survey()
    read: list[Source] = []
    with Progress("reading", sum(map(sources.size, files)) or None) as bar:
        for path in files or (None,):
            logs = sources.running_system() if path is None else sources.file(path, bar.update)
            for source, stream in logs:
                before = survey.tally.lines
                with diagnostics.phase(_log, f"read {source.name}"):
                    survey.read(stream)
                source.lines = survey.tally.lines - before
                read.append(source)
    if not files:
        running_vms.name_vms(survey)
    conclusion = verdict.conclude(survey, recorded=bool(recording))
    joined = against(survey) if against else None
    report = reports.build(survey, read, joined, conclusion)
    outputs.write(outputs.render(report, form, output), output)
    damaged = [source for source in read if source.damage]
    for source in damaged:
        click.echo(f"sldtrace: not read to its end: {source.name}: {source.damage}", err=True)
    if conclusion.holds & set(fail_on):
        sys.exit(EXIT_FINDING)
    if damaged:
        sys.exit(EXIT_UNREADABLE)
    if not conclusion.understood:
        sys.exit(EXIT_UNKNOWN)


# Opened before the log is read, so that its errors come first. Only this needs pandas.
def _recording(path: Path) -> "Callable[[Survey], Join]":
    from sldtrace.kernlog import join

    trace = recordings.load(path)
    if trace.simulated:
        raise SldtraceError(
            "the recording is simulated, so it has no kernel log", "use a recording of a real host"
        )
    return lambda survey: join.join(survey, trace)
