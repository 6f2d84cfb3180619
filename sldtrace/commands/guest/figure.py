"""The option --figure of `guest sweep` and `guest plot`, and the writing of its files."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sldtrace.errors import SldtraceError
from sldtrace.text.escape import escape

if TYPE_CHECKING:
    from sldtrace.reporters.sweep_data import Figure


def _pictures(ctx: click.Context, param: click.Parameter, value: tuple[Path, ...]) -> tuple[Path, ...]:
    for path in value:
        if path.suffix.lower() not in (".svg", ".png"):
            raise click.BadParameter(f"'{path}' ends neither in .svg nor in .png", ctx, param)
    return value


option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--figure",
    "pictures",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_pictures,
    metavar="FILE",
    help="Also write a picture: FILE.svg, or FILE.png (which needs resvg-py); repeatable.",
)


def show(figure: "Figure") -> None:
    """Prints the plot, with the characters and colours that stdout can show."""
    from sldtrace.reporters import sweep_plot
    from sldtrace.reporters.style import Style

    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(sweep_plot.as_plot(figure, Style.of_stdout(), unicode))


def check(pictures: Sequence[Path]) -> None:
    """Raises SldtraceError if `write` cannot write them; for use before the measurement."""
    from sldtrace.reporters import sweep_png

    for path in pictures:
        if path.suffix.lower() == ".png":
            sweep_png.require()
        with _temporary(path) as temporary:
            temporary.touch()


def write(figures: Sequence["Figure"], pictures: Sequence[Path]) -> None:
    """Writes one picture of all figures to each file, complete or not at all. Raises SldtraceError."""
    from sldtrace.reporters import sweep_png, sweep_svg

    if not pictures:
        return
    svg = sweep_svg.render(figures)
    for path in pictures:
        content = svg.encode() if path.suffix.lower() == ".svg" else sweep_png.render(svg)
        with _temporary(path) as temporary:
            temporary.write_bytes(content)
            temporary.replace(path)
        click.echo(f"sldtrace: written: {escape(str(path), 4096)}", err=True)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    # A file in the same folder, which is removed at the end.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
    except OSError as error:
        where = escape(str(path), 4096)
        raise SldtraceError(
            f"{where} cannot be written: {error.strerror}", "use another path for --figure"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
