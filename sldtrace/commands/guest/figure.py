"""The option --figure of `guest sweep` and `guest plot`, and the writing of its files."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sldtrace.commands import output as outputs
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


def plot(figure: "Figure", output: Path | None) -> str:
    """The plot, with the characters and colours that the terminal (or a file) can show."""
    from sldtrace.reporters import sweep_plot
    from sldtrace.reporters.style import Style

    if output is not None:
        return sweep_plot.as_plot(figure, Style(), unicode=True)
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return sweep_plot.as_plot(figure, Style.of_stdout(), unicode)


def check(pictures: Sequence[Path]) -> None:
    """Raises SldtraceError if `write` cannot write them; for use before the measurement."""
    from sldtrace.reporters import sweep_png

    for path in pictures:
        if path.suffix.lower() == ".png":
            sweep_png.require()
        outputs.require(path, "--figure")


def write(figures: Sequence["Figure"], pictures: Sequence[Path]) -> None:
    """Writes one picture of all figures to each file, complete or not at all. Raises SldtraceError."""
    from sldtrace.reporters import sweep_png, sweep_svg

    if not pictures:
        return
    svg = sweep_svg.render(figures)
    for path in pictures:
        content = svg.encode() if path.suffix.lower() == ".svg" else sweep_png.render(svg)
        with outputs.replacing(path, "--figure") as beside:
            beside.write_bytes(content)
        click.echo(f"sldtrace: written: {escape(str(path), 4096)}", err=True)
