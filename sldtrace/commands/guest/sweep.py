"""`sldtrace guest sweep`: loops finished against the period of the timer."""

import csv
import dataclasses
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace import interrupt
from sldtrace.commands.guest import figure, options, outcome
from sldtrace.errors import UsageError
from sldtrace.host import split_lock
from sldtrace.text.durations import Duration, parse
from sldtrace.vmm import guests
from sldtrace.vmm.kicks import Kind
from sldtrace.vmm.plan import Plan

if TYPE_CHECKING:
    from sldtrace.reporters.sweep_data import Figure

# Dense where the kernels differ: the penalty is 8 to 20 ms, by HZ and version.
_TIMEOUTS = ",".join(f"{ms}ms" for ms in (1, 2, 4, 6, *range(7, 19), 20, 25, 30, 40))
_EACH = Duration("10us", "1h")
_MOST_HOURS = 24


def _parse_timeouts(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    return tuple(_EACH.convert(text, param, ctx) for text in value.split(","))


@click.command("sweep")
@options.name
@click.option(
    "--timeouts",
    callback=_parse_timeouts,
    default=_TIMEOUTS,
    show_default=True,
    help="The periods of the timer, with commas between them.",
)
@options.duration("400ms", "1h", "How long to run with each.")
@options.kick
@click.option(
    "--mitigate",
    type=click.Choice(["0", "1", "both"]),
    help="Set kernel.split_lock_mitigate meanwhile (needs root).  [default: as it is]",
)
@figure.option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values instead.")
def sweep_guest(
    name: str,
    timeouts: tuple[int, ...],
    duration: int,
    kick: Kind,
    mitigate: str | None,
    pictures: tuple[Path, ...],
    as_json: bool,
    as_csv: bool,
) -> None:
    """Run GUEST (split-bts) with one timeout after another: from which one on does it make progress?

    Beside what was measured stands what the model of this kernel predicts (docs/model.md), but for guests
    that do something once in N. What --json prints, `sldtrace guest plot` draws again.

    Each run has a process and a VM of its own. A sysctl that was set is put back, also after Ctrl-C,
    which ends it with the results so far. Needs /dev/kvm.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv: one form at a time")
    values: list[int | None] = [1, 0] if mitigate == "both" else [int(mitigate) if mitigate else None]
    plan = Plan(guests.load(name), duration, kick=kick, signo=kick.signo)
    total = len(timeouts) * len(values)
    if total * duration > _MOST_HOURS * parse("1h"):
        raise UsageError(
            f"{total:,} runs would take longer than {_MOST_HOURS} h",
            "take fewer of them, or shorter ones",
        )
    figure.check(pictures)
    host = split_lock.read()

    # Only now: --help needs none of it.
    with interrupt.default_sigint():
        from sldtrace.reporters import sweep_data, sweep_plot
        from sldtrace.vmm import sweep
        from sldtrace.vmm.swept import Point, Sweep

    points: list[Point] = []
    bar = click.progressbar(length=total, label="guest sweep", file=sys.stderr, show_pos=True)

    def tell(point: Point) -> None:
        points.append(point)
        bar.update(1)

    with bar:
        whole = sweep.run(plan, timeouts, values, tell)
    if not whole:
        click.echo(f"sldtrace: interrupted after {len(points)} of {total} runs", err=True)
    found = Sweep.here(plan, points, whole)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
    # The model's line takes seconds on a slow machine: only where it is shown.
    if not points or (as_json and not pictures):
        return
    drawn = sweep_data.figure(found)
    if as_csv:
        click.echo(_csv(drawn), nl=False)
    elif not as_json:
        click.echo(sweep_plot.as_table(drawn))
        click.echo()
        figure.show(drawn)
        click.echo("\n" + outcome.meaning(plan.guest, host))
    figure.write([drawn], pictures)


def _csv(drawn: "Figure") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["mitigate", "timeout_ns", "loops", "kvm_runs", "eintr", "ran_ns", "model_loops_per_s"])
    for one in drawn.series:
        for point, rate in zip(one.points, one.predicted, strict=True):
            writer.writerow([*dataclasses.astuple(point), "" if rate is None else round(rate)])
    return text.getvalue()
