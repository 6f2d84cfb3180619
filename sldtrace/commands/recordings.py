"""Opens the recordings that a command line names, for commands that are about one host."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timezone, tzinfo
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sldtrace.commands.progress import Progress
from sldtrace.errors import SldtraceError, UsageError
from sldtrace.recording.target import STDIN, shown
from sldtrace.text import moments
from sldtrace.text.escape import escape

if TYPE_CHECKING:
    from sldtrace.dataset.symbols import Symbols
    from sldtrace.dataset.trace import Trace
    from sldtrace.recording.collect import Collection
    from sldtrace.recording.redacted import Redactor
    from sldtrace.recording.timeline import Timeline

_STDIN = Path("-")


def paths(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the arguments: files and directories (`paths`: at least one path)."""
    argument = click.argument(
        "paths",
        metavar="FILE|DIRECTORY|-...",
        nargs=-1,
        required=True,
        type=click.Path(path_type=Path, readable=False),
        callback=_with_standard_input,
    )
    return argument(command)


# Where a recording is read more than once, it has to be in a file.
def _with_standard_input(
    context: click.Context, option: click.Parameter, paths: tuple[Path, ...]
) -> tuple[Path, ...]:
    if _STDIN not in paths:
        return paths
    from tempfile import TemporaryDirectory

    if sys.stdin.isatty():
        raise click.BadParameter("standard input is a terminal: pipe a recording into it", context, option)
    folder = context.with_resource(TemporaryDirectory(prefix="sldtrace-"))
    file = Path(folder, STDIN)
    with file.open("wb") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy, 1 << 20)
    return tuple(dict.fromkeys(file if path == _STDIN else path for path in paths))


def between(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options `--since`, `--until` and `--local-time` (`between`, `zone`: see `View`)."""

    @click.option("--since", metavar="TIME", help=f"Only what was recorded from then on: {moments.FORMS}.")
    @click.option("--until", metavar="TIME", help="Only what was recorded before that time.")
    @click.option(
        "--local-time", is_flag=True, help="Times are those of this machine's time zone, not UTC: also TIME."
    )
    @wraps(command)
    def found(*args: Any, since: str | None, until: str | None, local_time: bool, **options: Any) -> Any:
        zone = None if local_time else timezone.utc
        limits = [_moment(*each, zone) for each in (("--since", since), ("--until", until))]
        if None not in limits and not limits[0] < limits[1]:  # type: ignore[operator]
            raise UsageError("--since is not before --until", "name an earlier time")
        return command(*args, between=limits, zone=zone, **options)

    return found


def _moment(option: str, text: str | None, zone: tzinfo | None) -> int | None:
    try:
        return None if text is None else moments.parse(text, time.time_ns(), zone)
    except ValueError as error:
        raise UsageError(f"{option}: {escape(str(error))}") from None


@dataclass(frozen=True)
class View:
    """How recordings are to be read.

    between: from when to when (ns since 1970, None: open); redactor: names and addresses are replaced by it;
    symbols: the functions of the guests; zone: of printed times, None: that of this machine.
    """

    between: Sequence[int | None] = (None, None)
    redactor: "Redactor | None" = None
    symbols: "Symbols | None" = None
    zone: tzinfo | None = timezone.utc

    def part(self, timeline: "Timeline") -> "Timeline | None":
        """What is left of a recording; None if nothing was recorded at that time."""
        from sldtrace.dataset.between import Between

        found = Between(*self.between).part(timeline)
        return found if found is None or self.redactor is None else self.redactor.timeline(found)

    def trace(self, timeline: "Timeline") -> "Trace":
        """What `part` gives, for analyzers and reports."""
        from sldtrace.dataset.trace import Trace

        return Trace(timeline, self.symbols, self.zone)


def redact(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the option `--redact` (`redact`: a bool)."""
    option = click.option(
        "--redact",
        is_flag=True,
        help="Replace the names of hosts, VMs, processes and files, UUIDs and addresses by others: the same "
        "one by the same.",
    )
    return option(command)


def redactor() -> "Redactor":
    """One for all recordings of an output."""
    from sldtrace.recording.redacted import Redactor

    return Redactor()


def load(path: Path) -> "Trace":
    """Opens one file; a bar shows how far it is read, now and later. Raises SldtraceError."""
    from sldtrace.dataset import trace as traces
    from sldtrace.recording.observed import Observed

    begun = time.monotonic()
    size = path.stat().st_size if path.is_file() else None
    with Progress("verifying", size, begun) as bar:
        trace = traces.load(path, on_read=bar.update)
    return traces.Trace(Observed(trace.recording, lambda total: Progress("analyzing", total, begun)))


def open_all(files: Sequence[Path]) -> "Collection":
    """Opens the files, see recording.collect; a bar shows how far they are read."""
    from sldtrace.recording import collect

    size = sum(path.stat().st_size for path in files if path.is_file())
    with Progress("verifying", size) as bar:
        return collect.open_all(files, bar.update)


@contextmanager
def open_one(paths: Sequence[Path], redactor: "Redactor | None" = None) -> "Iterator[Trace]":
    """The recordings of one boot of one host at these paths, read as one.

    redactor: names and addresses are replaced by it.
    Raises SldtraceError if there is none, or if they are of several hosts or boots.
    """
    from sldtrace.dataset import trace as traces
    from sldtrace.recording import collect
    from sldtrace.recording.observed import Observed

    if len(paths) == 1 and not paths[0].is_dir():
        trace = load(paths[0])
        try:
            yield trace if redactor is None else traces.Trace(redactor.timeline(trace.recording))
        finally:
            trace.recording.close()
        return
    begun = time.monotonic()
    found = collect.find(tuple(paths))
    with open_all(found.files) as collection:
        for each in [*found.unreadable, *collection.unreadable]:
            click.echo(f"sldtrace: not read: {each.reason}", err=True)
        if not collection.timelines:
            where = ", ".join(shown(path) for path in paths[:2])
            raise SldtraceError(f"there is no recording in {where}", "name a file of sldtrace record")
        if len(collection.timelines) > 1:
            count = len(collection.timelines)
            raise UsageError(f"these are recordings of {count} hosts or boots", "name those of one of them")
        (one,) = collection.timelines
        timeline = Observed(one, lambda total: Progress("analyzing", total, begun))
        yield traces.Trace(timeline if redactor is None else redactor.timeline(timeline))
