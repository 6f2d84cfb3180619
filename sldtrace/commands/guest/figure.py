"""What `guest sweep` and `guest plot` share: the option for pictures, and writing them."""

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
    help="Write a picture, too: FILE.svg, or FILE.png (which needs resvg-py); repeatable.",
)


def show(figure: "Figure") -> None:
    """The plot on stdout, in what characters and colours it can show."""
    from sldtrace.reporters import sweep_plot
    from sldtrace.reporters.style import Style

    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(sweep_plot.as_plot(figure, Style.of_stdout(), unicode))


def check(pictures: Sequence[Path]) -> None:
    """Raises SldtraceError if `write` could not write them: to be known before anything is measured."""
    from sldtrace.reporters import sweep_png

    for path in pictures:
        if path.suffix.lower() == ".png":
            sweep_png.require()
        with _beside(path) as beside:
            beside.touch()


def write(figures: Sequence["Figure"], pictures: Sequence[Path]) -> None:
    """One picture of all of them into each file, whole or not at all. Raises SldtraceError."""
    from sldtrace.reporters import sweep_png, sweep_svg

    if not pictures:
        return
    svg = sweep_svg.render(figures)
    for path in pictures:
        content = svg.encode() if path.suffix.lower() == ".svg" else sweep_png.render(svg)
        with _beside(path) as beside:
            beside.write_bytes(content)
            beside.replace(path)
        click.echo(f"sldtrace: written: {escape(str(path), 4096)}", err=True)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    # A name beside it, of which nothing is left.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
    except OSError as error:
        where = escape(str(path), 4096)
        raise SldtraceError(
            f"{where} cannot be written: {error.strerror}", "take another place for --figure"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()
