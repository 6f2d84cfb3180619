"""Opens the recordings that a command line names, for commands that are about one host."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace.errors import SldtraceError, UsageError
from sldtrace.text.escape import escape

if TYPE_CHECKING:
    from sldtrace.dataset.trace import Trace


@contextmanager
def open_one(paths: Sequence[Path]) -> "Iterator[Trace]":
    """The recordings of one boot of one host at these paths, read as one.

    Raises SldtraceError if there is none, or if they are of several hosts or boots.
    """
    from sldtrace.dataset import trace as traces
    from sldtrace.recording import collect

    if len(paths) == 1 and not paths[0].is_dir():
        trace = traces.load(paths[0])
        try:
            yield trace
        finally:
            trace.recording.close()
        return
    found = collect.find(tuple(paths))
    collection = collect.open_all(found.files, lambda _: None)
    with collection:
        for each in [*found.unreadable, *collection.unreadable]:
            click.echo(f"sldtrace: not read: {each.reason}", err=True)
        if not collection.timelines:
            where = ", ".join(escape(str(path), 4096) for path in paths[:2])
            raise SldtraceError(f"there is no recording in {where}", "name a file of sldtrace record")
        if len(collection.timelines) > 1:
            count = len(collection.timelines)
            raise UsageError(f"these are recordings of {count} hosts or boots", "name those of one of them")
        yield traces.Trace(collection.timelines[0])
