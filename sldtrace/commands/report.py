"""`sldtrace report`: what recordings show, for a person, as JSON or as a page."""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace.commands import output as outputs
from sldtrace.commands import recordings
from sldtrace.commands.progress import Progress, Share
from sldtrace.commands.recordings import View
from sldtrace.errors import EXIT_FINDING, EXIT_UNKNOWN, EXIT_UNREADABLE, SldtraceError, UsageError
from sldtrace.recording import target
from sldtrace.reporters.formats import FORMATS

if TYPE_CHECKING:
    from sldtrace.analyzers.finding import Severity
    from sldtrace.dataset.symbols import Symbols
    from sldtrace.dataset.trace import Trace
    from sldtrace.recording.collect import Collection, Found, Unreadable
    from sldtrace.recording.timeline import Timeline
    from sldtrace.reporters.document import Report

_READINGS = 2  # of each recording, about
_MOST_LINES = 20  # on stderr, about files that cannot be read


@dataclass(frozen=True)
class Built:
    """A report, and what the exit status follows from.

    severities: of the findings; damaged: a part could not be read; incomplete: there may be findings that it
    lacks (`accounts.incomplete`).
    """

    content: "Report"
    severities: "Sequence[Severity]" = ()
    damaged: bool = False
    incomplete: bool = False


@click.command()
@recordings.paths
@outputs.options(*FORMATS)
@click.option(
    "--what-if",
    "changes",
    multiple=True,
    metavar="CHANGE",
    help="Predict instead: timer=20ms, timer=none, mitigate=0, mitigate=1, mode=off, mode=warn, mode=fatal, "
    "fix=uninterruptible, fix=remaining, fix=early-returns:3, or several with commas; modes, or "
    "modes=ratelimit:N: what each split_lock_detect= would do; may be given more than once.",
)
@click.option(
    "--symbols",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="Name guest addresses by the functions in FILE: System.map, /proc/kallsyms or an ELF file of the "
    "guest.",
)
@click.option(
    "--brief", is_flag=True, help="Print the summary only: what is affected, why, what to do first."
)
@click.option(
    "--fail-on",
    type=click.Choice(["notice", "warning", "critical"]),
    help="Exit with status 3 if there is a finding of at least this severity.",
)
@recordings.redact
@recordings.between
def report(
    paths: tuple[Path, ...],
    form: str,
    output: Path | None,
    changes: tuple[str, ...],
    symbols: Path | None,
    brief: bool,
    fail_on: str | None,
    redact: bool,
    between: Sequence[int | None],
    zone: tzinfo | None,
) -> None:
    """Print what recordings show: a summary first, then what to change, then each finding with its evidence.

    The summary names the host, the time, and a verdict for each VM and cause, with the first thing to change,
    how to undo it, and how to see whether it worked. --brief prints nothing else.

    Needs neither root nor bcc nor the host on which they were recorded. A damaged or unfinished file is read
    as far as it can be, and the report says what is missing.

    The files of one boot of a host (record --rotate, a service that was restarted) are read as one recording,
    in any order; a DIRECTORY stands for the recordings in it. Several hosts or boots have a report each;
    sldtrace fleet compares many hosts.

    If a file cannot be read, stderr says why, and the exit status is 4; the same if a part of a file cannot
    be read, which the report names. With --fail-on it is 5 if a recording is incomplete and there is no such
    finding.

    With --redact, what is sent to others has no names of hosts, VMs, processes and files, and no addresses.

    With --what-if it predicts for each thread that trapped whether it would make progress under another
    timer, without the penalty, or with a fix of the kernel that was proposed, how often it would trap, and
    how much of its time it would be penalized. Fixes: signals do not end the penalty (fix=uninterruptible), a
    penalty that was partly completed counts (fix=remaining), or detection is switched off after some early
    returns in a row (fix=early-returns:3). `modes` shows for each VM and program what split_lock_detect=off,
    warn, fatal and ratelimit:10 would do to it.

    \b
    Examples:
      sldtrace report incident.sld
      sldtrace report --brief incident.sld
      sldtrace report /var/lib/sldtrace
      sldtrace report --format html --output incident.html incident.sld
      sldtrace report --format json --output incident.json incident.sld
      sldtrace report --what-if timer=20ms --what-if mitigate=0 incident.sld
      sldtrace report --what-if modes incident.sld
      sldtrace report --symbols guest-kallsyms.txt incident.sld
      sldtrace report --since '3h ago' /var/lib/sldtrace
      ssh host sldtrace record -d 30s -o - | sldtrace report -
    """
    outputs.check(output)
    if changes and fail_on:
        raise UsageError("--what-if and --fail-on exclude each other", "a prediction is not a finding")
    if brief and (form == "json" or changes):
        other = "--what-if" if changes else "--format json"
        raise UsageError(f"--brief and {other} exclude each other", "the JSON has the key summary")
    if zone is None and form != "text":
        raise UsageError("--local-time is for --format text", "what others read has times in UTC")
    if redact and symbols is not None:
        raise UsageError("--redact and --symbols exclude each other", "names of functions tell addresses")
    make: Callable[[Trace], Built]
    make = (
        _predictor(changes)
        if changes
        else partial(_analyze, with_pictures=FORMATS[form].pictures, only_summary=brief)
    )
    view = View(between, recordings.redactor() if redact else None, _symbols(symbols), zone)
    unreadable: Sequence[Unreadable] = ()
    if len(paths) == 1 and not paths[0].is_dir():
        built = _of_file(paths[0], make, view)
    else:
        built, unreadable = _of_several(paths, make, view)
    outputs.write(outputs.render(built.content, form, output), output)
    from sldtrace.analyzers.finding import Severity

    if fail_on and any(severity >= Severity[fail_on.upper()] for severity in built.severities):
        sys.exit(EXIT_FINDING)
    if unreadable or built.damaged:
        sys.exit(EXIT_UNREADABLE)
    if fail_on and built.incomplete:
        sys.exit(EXIT_UNKNOWN)


def build(file: Path) -> Built:
    """The report of a recording. Raises SldtraceError."""
    return _of_file(file, _analyze, View())


def _of_file(file: Path, make: "Callable[[Trace], Built]", view: View) -> Built:
    trace = recordings.load(file)
    part = view.part(trace.recording)
    if part is None:
        raise _nothing_then([trace.recording], view)
    return make(view.trace(part))


def _nothing_then(timelines: "Sequence[Timeline]", view: View) -> SldtraceError:
    from sldtrace.reporters import wording

    spans = [(view.trace(each), view.trace(each).span_ns) for each in timelines]
    first, last = min(spans, key=lambda pair: pair[1][0]), max(spans, key=lambda pair: pair[1][1])
    times = f"{wording.moment(first[0], first[1][0])} to {wording.moment(last[0], last[1][1])}"
    return SldtraceError("nothing was recorded at that time", f"the recording is from {times}")


def _analyze(trace: "Trace", with_pictures: bool = False, only_summary: bool = False) -> Built:
    from sldtrace.analyzers.findings import catalogue
    from sldtrace.dataset import accounts

    findings = catalogue.run(trace)
    if only_summary:
        from sldtrace.reporters import overview

        content = overview.brief(trace, findings)
    else:
        from sldtrace.analyzers import threads
        from sldtrace.reporters import report as reports

        content = reports.build(
            trace,
            findings,
            threads.summarize(trace, findings),
            catalogue.not_evaluated(trace),
            with_pictures=with_pictures,
        )
    severities = [finding.severity for finding in findings]
    return Built(content, severities, trace.recording.damaged, accounts.incomplete(trace))


def _symbols(file: Path | None) -> "Symbols | None":
    if file is None:
        return None
    from sldtrace.dataset import symbols

    return symbols.read(file)


def _predictor(changes: tuple[str, ...]) -> "Callable[[Trace], Built]":
    from sldtrace.prediction import modes, predict
    from sldtrace.reporters import what_if

    limits = {text: modes.parse(text) for text in changes}
    parsed = [predict.parse(text) for text, limit in limits.items() if limit is None]

    def make(trace: "Trace") -> Built:
        answers = [(change, predict.run(trace, change)) for change in parsed]
        audits = [modes.run(trace, limit) for limit in limits.values() if limit is not None]
        content = what_if.build(trace, answers, audits)
        return Built(content, damaged=trace.recording.damaged)

    return make


def _of_several(
    paths: tuple[Path, ...], make: "Callable[[Trace], Built]", view: View
) -> "tuple[Built, Sequence[Unreadable]]":
    from sldtrace.recording import collect
    from sldtrace.reporters import content, several

    found = collect.find(paths)
    with recordings.open_all(found.files) as collection:
        built, failed = _built(collection, make, view)
        if not built and not failed and collection.timelines:
            raise _nothing_then(collection.timelines, view)
    unreadable = [*found.unreadable, *collection.unreadable, *failed]
    if not built and len(unreadable) < 2:
        raise _nothing(paths, found, unreadable)
    _warn(collection, unreadable)
    if not built:
        raise SldtraceError(f"none of {len(unreadable):,} files can be read")
    shown: Sequence[Unreadable] = unreadable
    notes: Sequence[str] = collection.notes
    if view.redactor is not None:
        shown = view.redactor.unreadable(unreadable)
        # Their texts have paths.
        notes = [f"{len(notes):,} notes are left out (--redact)"] if notes else []
    listed = [content.UnreadableContent(target.shown(Path(each.path)), each.reason) for each in shown]
    made = several.build([(name, each.content) for name, each in built], listed, notes, found.others)
    every = [each for _, each in built]
    return (
        Built(
            made,
            [severity for each in every for severity in each.severities],
            any(each.damaged for each in every),
            any(each.incomplete for each in every),
        ),
        unreadable,
    )


def _built(
    collection: "Collection", make: "Callable[[Trace], Built]", view: View
) -> "tuple[list[tuple[str, Built]], list[Unreadable]]":
    from sldtrace.recording.collect import Unreadable
    from sldtrace.recording.observed import Observed

    built, failed = [], []
    steps = [_READINGS * sum(timeline.counts.values()) for timeline in collection.timelines]
    with Progress("analyzing", sum(steps)) as bar:
        for timeline, own in zip(collection.timelines, steps, strict=True):
            with Share(bar, own) as share:
                try:
                    if (shown := view.part(timeline)) is not None:
                        observed = Observed(shown, lambda _, share=share: nullcontext(share))  # type: ignore[misc]
                        built.append((_name(shown), make(view.trace(observed))))
                except SldtraceError as error:  # it changed while it was read
                    failed.append(Unreadable(str(timeline.path), str(error)))
    return built, failed


def _name(timeline: "Timeline") -> str:
    host = timeline.facts.get("host")
    name = host.get("name") if isinstance(host, dict) else None
    names = [part.name for part in timeline.parts]
    files = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]} ({len(names)} files)"
    return f"{name}, {files}" if isinstance(name, str) and name else files


def _warn(collection: "Collection", unreadable: "Sequence[Unreadable]") -> None:
    for note in collection.notes:
        click.echo(f"sldtrace: {note}", err=True)
    for each in unreadable[:_MOST_LINES]:
        click.echo(f"sldtrace: not read: {each.reason}", err=True)
    if len(unreadable) > _MOST_LINES:
        click.echo(f"sldtrace: not read: {len(unreadable) - _MOST_LINES:,} more", err=True)


def _nothing(paths: tuple[Path, ...], found: "Found", unreadable: "Sequence[Unreadable]") -> SldtraceError:
    if unreadable:
        return SldtraceError(unreadable[0].reason)
    where = ", ".join(target.shown(path) for path in paths[:2])
    where += f" and {len(paths) - 2} more" if len(paths) > 2 else ""
    hint = "name a directory with files of sldtrace record"
    if found.folders:
        hint += "; sldtrace fleet also reads subdirectories"
    return SldtraceError(f"there is no recording in {where}", hint)
