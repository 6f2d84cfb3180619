"""`sldtrace guest sweep`: finished loops by the period of the timer."""

import csv
import dataclasses
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace import interrupt
from sldtrace.commands import output as outputs
from sldtrace.commands.guest import figure, options, outcome
from sldtrace.errors import UsageError
from sldtrace.host import split_lock
from sldtrace.text.durations import Duration, parse
from sldtrace.vmm import guests
from sldtrace.vmm.kicks import Kind
from sldtrace.vmm.plan import Plan

if TYPE_CHECKING:
    from sldtrace.reporters.sweep_data import Figure

# Closer together where kernels differ: the penalty is 8 to 20 ms, by HZ and version.
_TIMEOUTS = ",".join(f"{ms}ms" for ms in (1, 2, 4, 6, *range(7, 19), 20, 25, 30, 40))
_EACH = Duration("10us", "1h")
_MOST_HOURS = 24


def _parse_timeouts(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    return tuple(_EACH.convert(text, param, ctx) for text in value.split(","))


@click.command("sweep", short_help="Which timer is long enough on this kernel.")
@options.name
@click.option(
    "--timeouts",
    callback=_parse_timeouts,
    default=_TIMEOUTS,
    show_default=True,
    help="The periods of the timer, separated by commas.",
)
@options.duration("400ms", "1h", "How long to run with each.")
@options.kick
@click.option(
    "--mitigate",
    type=click.Choice(["0", "1", "both"]),
    help="Set kernel.split_lock_mitigate for the runs (needs root).  [default: unchanged]",
)
@figure.option
@outputs.options("text", "json", "csv")
def sweep_guest(
    name: str,
    timeouts: tuple[int, ...],
    duration: int,
    kick: Kind,
    mitigate: str | None,
    pictures: tuple[Path, ...],
    form: str,
    output: Path | None,
) -> None:
    """Run GUEST (split-bts) with one timeout after another, to find the timers with which it makes progress.

    The prediction of the model of this kernel is shown next to the measurement (docs/model.md), except for
    guests that do something once in N. `sldtrace guest plot` plots the output of --format json.

    Each run has its own process and VM. A sysctl that was set is restored, also after Ctrl-C, which ends the
    sweep with the results so far. Needs /dev/kvm.
    """
    values: list[int | None] = [1, 0] if mitigate == "both" else [int(mitigate) if mitigate else None]
    plan = Plan(guests.load(name), duration, kick=kick, signo=kick.signo)
    total = len(timeouts) * len(values)
    if total * duration > _MOST_HOURS * parse("1h"):
        raise UsageError(
            f"{total:,} runs would take longer than {_MOST_HOURS} h",
            "use fewer or shorter runs",
        )
    outputs.check(output)
    figure.check(pictures)
    host = split_lock.read()

    # Imported here because --help does not need it.
    with interrupt.default_sigint():
        from sldtrace.reporters import sweep_data, sweep_plot
        from sldtrace.vmm import sweep
        from sldtrace.vmm.swept import Point, Sweep

    points: list[Point] = []
    bar = click.progressbar(length=total, label="guest sweep", file=sys.stderr, show_pos=True)

    def report(point: Point) -> None:
        points.append(point)
        bar.update(1)

    with bar:
        whole = sweep.run(plan, timeouts, values, report)
    if not whole:
        click.echo(f"sldtrace: interrupted after {len(points)} of {total} runs", err=True)
    found = Sweep.of_this_host(plan, points, whole)
    if form == "json":
        outputs.write(json.dumps(found.to_json(), indent=2) + "\n", output)
    # The prediction takes seconds on a slow machine, so it is computed only where it is shown.
    if not points or (form == "json" and not pictures):
        if not whole:
            raise KeyboardInterrupt
        return
    drawn = sweep_data.figure(found)
    if form == "csv":
        outputs.write(_csv(drawn), output)
    elif form == "text":
        plot = figure.plot(drawn, output)
        meaning = outcome.meaning(plan.guest, host)
        outputs.write(f"{sweep_plot.as_table(drawn)}\n\n{plot}\n\n{meaning}\n", output)
    figure.write([drawn], pictures)
    if not whole:
        raise KeyboardInterrupt


def _csv(drawn: "Figure") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["mitigate", "timeout_ns", "loops", "kvm_runs", "eintr", "ran_ns", "model_loops_per_s"])
    for one in drawn.series:
        for point, rate in zip(one.points, one.predicted, strict=True):
            writer.writerow([*dataclasses.astuple(point), "" if rate is None else round(rate)])
    return text.getvalue()
