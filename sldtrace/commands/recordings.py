"""Opens the recordings that a command line names, for commands that are about one host."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sldtrace.commands.progress import Progress
from sldtrace.errors import SldtraceError, UsageError
from sldtrace.text.escape import escape

if TYPE_CHECKING:
    from sldtrace.dataset.trace import Trace
    from sldtrace.recording.redacted import Redactor


def paths(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the arguments: files and directories (`paths`: at least one path)."""
    argument = click.argument(
        "paths",
        metavar="FILE|DIRECTORY...",
        nargs=-1,
        required=True,
        type=click.Path(path_type=Path, readable=False),
    )
    return argument(command)


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
    from sldtrace.recording.observed import observed

    begun = time.monotonic()
    size = path.stat().st_size if path.is_file() else None
    with Progress("verifying", size, begun) as bar:
        trace = traces.load(path, on_read=bar.update)
    return traces.Trace(observed(trace.recording, lambda total: Progress("analyzing", total, begun)))


@contextmanager
def open_one(paths: Sequence[Path], redactor: "Redactor | None" = None) -> "Iterator[Trace]":
    """The recordings of one boot of one host at these paths, read as one.

    redactor: names and addresses are replaced by it.
    Raises SldtraceError if there is none, or if they are of several hosts or boots.
    """
    from sldtrace.dataset import trace as traces
    from sldtrace.recording import collect

    if len(paths) == 1 and not paths[0].is_dir():
        trace = load(paths[0])
        try:
            yield trace if redactor is None else traces.Trace(redactor.timeline(trace.recording))
        finally:
            trace.recording.close()
        return
    found = collect.find(tuple(paths))
    with Progress("reading", len(found.files)) as bar:
        collection = collect.open_all(found.files, lambda _: bar.update())
    with collection:
        for each in [*found.unreadable, *collection.unreadable]:
            click.echo(f"sldtrace: not read: {each.reason}", err=True)
        if not collection.timelines:
            where = ", ".join(escape(str(path), 4096) for path in paths[:2])
            raise SldtraceError(f"there is no recording in {where}", "name a file of sldtrace record")
        if len(collection.timelines) > 1:
            count = len(collection.timelines)
            raise UsageError(f"these are recordings of {count} hosts or boots", "name those of one of them")
        (timeline,) = collection.timelines
        yield traces.Trace(timeline if redactor is None else redactor.timeline(timeline))
