"""`sldtrace export`: a recording in the formats of other tools."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace.commands import output as outputs
from sldtrace.commands import recordings
from sldtrace.errors import SldtraceError, UsageError
from sldtrace.text.escape import escape
from sldtrace.text.phrases import plural

if TYPE_CHECKING:
    from sldtrace.dataset.trace import Trace

_FOLDERS = ("parquet", "csv")
_STDOUT = Path("-")


@click.command()
@recordings.paths
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "csv", "jsonl", "perfetto"]),
    required=True,
    help="parquet, csv: a directory with a table for each kind of record; jsonl: an object a line; perfetto: "
    "a trace for ui.perfetto.dev.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE|DIRECTORY",
    help="Where to write: a new or an empty directory for parquet and csv, otherwise a file, which is "
    "replaced if it exists; - is standard output.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    metavar="KIND",
    help="Only records of this kind (trap, signal, exit, ...); may be given more than once. Not for "
    "perfetto.",
)
@recordings.redact
def export(paths: tuple[Path, ...], form: str, output: Path, kinds: tuple[str, ...], redact: bool) -> None:
    """Write a recording as tables, or as a trace, for other tools.

    Tables have the columns of the DataFrames (docs/api.md) and the wall time. The files of one boot of a host
    are read as one recording; a DIRECTORY stands for the recordings in it. Stderr says what is left out.

    \b
    Examples:
      sldtrace export --format parquet -o incident incident.sld
      sldtrace export --format jsonl --kind trap -o - incident.sld | jq .rip
      sldtrace export --format perfetto -o incident.pftrace incident.sld
    """
    from sldtrace.export import parquet, perfetto, tables, text_tables
    from sldtrace.recording import schema

    known = schema.current().records
    if unknown := [kind for kind in kinds if kind not in known]:
        raise UsageError(
            f"there is no record kind {escape(unknown[0])}", f"the kinds are: {', '.join(known)}"
        )
    if kinds and form == "perfetto":
        raise UsageError("--kind is not for perfetto", "a trace has all kinds that it can show")
    if form in _FOLDERS and output == _STDOUT:
        raise UsageError(f"--format {form} writes a directory", "take another place for --output")
    if form == "parquet":
        parquet.require()
    with recordings.open_one(paths, recordings.redactor() if redact else None) as trace:
        written = frozenset(tables.kinds(trace, kinds))
        if form in _FOLDERS:
            write = parquet.write if form == "parquet" else text_tables.write_csv
            with _new_folder(output) as folder:
                write(trace, folder, kinds)
        elif form == "jsonl":
            _to_file(output, lambda path: _json_lines(trace, path, kinds))
        else:
            written = perfetto.WRITTEN
            _to_file(output, lambda path: _perfetto(trace, path))
        if missing := tables.left_out(trace, written):
            listed = ", ".join(plural(count, f"{escape(kind)} record") for kind, count in missing.items())
            click.echo(f"sldtrace: not in this output: {listed}", err=True)


def _json_lines(trace: "Trace", path: Path | None, kinds: tuple[str, ...]) -> None:
    from sldtrace.export import text_tables

    if path is None:
        text_tables.write_json_lines(trace, sys.stdout, kinds)
        return
    with path.open("w", encoding="utf-8") as file:
        text_tables.write_json_lines(trace, file, kinds)


def _perfetto(trace: "Trace", path: Path | None) -> None:
    from sldtrace.export import perfetto

    if path is None:
        perfetto.write(trace, sys.stdout.buffer)
        return
    with path.open("wb") as file:
        perfetto.write(trace, file)


# None stands for standard output.
def _to_file(output: Path, write: Callable[[Path | None], None]) -> None:
    if output == _STDOUT:
        write(None)
        return
    with outputs.replacing(output, "--output") as beside:
        write(beside)


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder to write to, which is at `path` afterwards, or not there at all."""
    where = escape(str(path), 4096)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise SldtraceError(f"{where} is no empty directory", "take another place for --output")
        beside.mkdir()
        try:
            yield beside
            if path.exists():
                path.rmdir()
            beside.rename(path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise SldtraceError(
            f"{where} cannot be written: {error.strerror}", "take another place for --output"
        ) from error
