"""`sldtrace guest plot`: plots sweeps that were saved as JSON, side by side."""

from pathlib import Path

import click

from sldtrace.commands.guest import figure


@click.command("plot", short_help="Plot the output of `guest sweep --format json`.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@figure.option
def plot_sweeps(files: tuple[Path, ...], pictures: tuple[Path, ...]) -> None:
    """Plot the output of `guest sweep --format json`, a panel for each FILE, with the model's prediction.

    Needs neither root nor the host of the measurement.

    \b
      sldtrace guest sweep --mitigate both --format json -o here.json
      sldtrace guest plot here.json there.json --figure both.svg
    """
    from sldtrace.reporters import sweep_data
    from sldtrace.vmm import swept

    figures = [sweep_data.figure(swept.load(path)) for path in files]
    if pictures:
        figure.write(figures, pictures)
        return
    for number, one in enumerate(figures):
        if number:
            click.echo()
        click.echo(figure.plot(one, None))
