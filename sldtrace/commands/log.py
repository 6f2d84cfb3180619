"""`sldtrace log`: split locks in the kernel's log, alone or compared with a recording."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace import diagnostics
from sldtrace.commands import output as outputs
from sldtrace.errors import SldtraceError
from sldtrace.reporters.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sldtrace.kernlog.join import Join
    from sldtrace.kernlog.survey import Survey

_log = logging.getLogger(__name__)


@click.command()
@click.argument("files", metavar="[FILE|-]...", nargs=-1, type=click.Path(path_type=Path, readable=False))
@outputs.options(*FORMATS)
@click.option(
    "--recording",
    type=click.Path(path_type=Path, readable=False),
    help="Match the lines with the threads of this recording, by TID and time.",
)
def log(files: tuple[Path, ...], form: str, output: Path | None, recording: Path | None) -> None:
    """Show which threads took split locks according to the kernel's log: in order, without rates.

    Reads FILEs as one log, oldest first: syslog, dmesg in all its time formats, journalctl as text or JSON,
    /dev/kmsg, the function tracer; gzip, xz or neither. Without FILE it reads the log of the running system.

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
    read = []
    for opened in [sources.file(path) for path in files] or [sources.running_system()]:
        with opened as (source, stream), diagnostics.phase(_log, f"read {source.name}"):
            survey.read(stream)
            read.append(source)
    if not files:
        running_vms.name_vms(survey)
    conclusion = verdict.conclude(survey, recorded=bool(recording))
    joined = against(survey) if against else None
    report = reports.build(survey, read, joined, conclusion)
    outputs.write(outputs.render(report, form, output), output)


# Opened before the log is read, so that its errors come first. Only this needs pandas.
def _recording(path: Path) -> "Callable[[Survey], Join]":
    from sldtrace.dataset import trace as traces
    from sldtrace.kernlog import join

    trace = traces.load(path)
    if trace.simulated:
        raise SldtraceError(
            "the recording is simulated, so it has no kernel log", "use a recording of a real host"
        )
    return lambda survey: join.join(survey, trace)
