"""The options `--format` and `--output`, the same for every command that prints a report."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from sldtrace.commands import pager
from sldtrace.errors import SldtraceError
from sldtrace.reporters.document import Report
from sldtrace.reporters.formats import FORMATS
from sldtrace.reporters.style import Style
from sldtrace.text.escape import escape

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_STDOUT = Path("-")


def options(*formats: str) -> Decorator:
    """Adds `--format` (`form`, the first is the default) and `-o/--output` (`output`: a path, or None).

    And `--no-pager`, which `write` heeds.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        output = click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Write to FILE, which is replaced if it exists; - is standard output.",
        )
        form = click.option(
            "--format",
            "form",
            type=click.Choice(formats),
            default=formats[0],
            show_default=True,
            callback=_checked,
            help="The format of the output.",
        )
        no_pager = click.option(
            "--no-pager",
            is_flag=True,
            expose_value=False,
            callback=pager.off,
            help="Do not use $SLDTRACE_PAGER, $PAGER or less, which show long output on a terminal.",
        )
        return form(output(no_pager(command)))

    return decorate


# Before anything is measured.
def _checked(context: click.Context, option: click.Parameter, form: str) -> str:
    if form in FORMATS:
        FORMATS[form].check()
    return form


def render(report: Report, form: str, output: Path | None) -> str:
    """The report in that format; in the width and the colours of the terminal where it goes to one."""
    return FORMATS[form].render(report, Style.of_stdout() if output in (None, _STDOUT) else Style())


def write(text: str, output: Path | None) -> None:
    """Prints the text, or writes it to the file. Raises SldtraceError if that cannot be done."""
    if output is None or output == _STDOUT:
        pager.show(text)
        return
    with replacing(output, "--output") as beside:
        beside.write_text(text, encoding="utf-8")


def check(output: Path | None) -> None:
    """Raises SldtraceError if `write` could not write: to be known before anything is measured."""
    if output is not None and output != _STDOUT:
        require(output, "--output")


def require(path: Path, option: str) -> None:
    """Raises SldtraceError if `replacing` could not write there."""
    with replacing(path, option, keep=True):
        pass


@contextmanager
def replacing(path: Path, option: str, keep: bool = False) -> Iterator[Path]:
    """A path to write to, whose content is at `path` afterwards: all of it, or `path` is as it was before.

    A link is followed, and the mode of a file that exists is kept; a device or a pipe is written to directly.
    keep: leave `path` as it is, to try only. Raises SldtraceError that names the option.
    """
    try:
        real = Path(os.path.realpath(path))
        mode = real.stat().st_mode if real.exists() else None
        if mode is not None and not stat.S_ISREG(mode):
            yield real
            return
        beside = real.with_name(f".{real.name}.{os.getpid()}")
        try:
            beside.touch()
            yield beside
            if not keep:
                if mode is not None:
                    beside.chmod(stat.S_IMODE(mode))
                beside.replace(real)
        finally:
            with suppress(OSError):
                beside.unlink()
    except OSError as error:
        where = escape(str(path), 4096)
        raise SldtraceError(
            f"{where} cannot be written: {error.strerror}", f"take another place for {option}"
        ) from error
