"""`sldtrace guest sweep`: loops finished against the period of the timer."""

import csv
import dataclasses
import io
import json
import sys
from typing import Any

import click

from sldtrace.commands.guest import outcome
from sldtrace.durations import Duration, parse, render
from sldtrace.errors import UsageError
from sldtrace.host import splitlock
from sldtrace.vmm import guests
from sldtrace.vmm.kicks import Kind
from sldtrace.vmm.plan import Plan

# Dense where the kernels differ: the penalty is 8 to 20 ms, by HZ and version.
_TIMEOUTS = ",".join(f"{ms}ms" for ms in (1, 2, 4, 6, *range(7, 19), 20, 25, 30, 40))
_LEAST, _MOST = parse("10us"), parse("1h")
_BAR = 30


def _parse_timeouts(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        timeouts = tuple(parse(text) for text in value.split(","))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    if bad := [timeout for timeout in timeouts if not _LEAST <= timeout <= _MOST]:
        raise click.BadParameter(
            f"'{render(bad[0])}' is not between {render(_LEAST)} and {render(_MOST)}", ctx, param
        )
    return timeouts


@click.command("sweep")
@click.argument("name", metavar="[GUEST]", default="split-bts")
@click.option(
    "--timeouts",
    callback=_parse_timeouts,
    default=_TIMEOUTS,
    show_default=True,
    help="The periods of the timer, with commas between them.",
)
@click.option(
    "--duration",
    type=Duration("1ms", "1h"),
    default="400ms",
    show_default=True,
    help="How long to run with each.",
)
@click.option(
    "--kick",
    type=click.Choice([kind.value for kind in Kind]),
    default=Kind.TIMER.value,
    show_default=True,
    help="As of guest run.",
)
@click.option(
    "--mitigate",
    type=click.Choice(["0", "1", "both"]),
    help="Set kernel.split_lock_mitigate meanwhile (needs root).  [default: as it is]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values instead.")
def sweep_guest(
    name: str,
    timeouts: tuple[int, ...],
    duration: int,
    kick: str,
    mitigate: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Run GUEST (split-bts) with one timeout after another: from which one on does it make progress?

    Each run has a process and a VM of its own. A sysctl that was set is put back, also after Ctrl-C,
    which ends it with the results so far. Needs /dev/kvm.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv: one form at a time")
    values: list[int | None] = [1, 0] if mitigate == "both" else [int(mitigate) if mitigate else None]
    kind = Kind(kick)
    plan = Plan(guests.load(name), duration, kick=kind, signo=14 if kind is Kind.ITIMER else 10)
    host = splitlock.read()

    # Only now: --help needs none of it.
    from sldtrace.vmm import sweep

    points: list[sweep.Point] = []
    total = len(timeouts) * len(values)
    bar = click.progressbar(length=total, label="guest sweep", file=sys.stderr, show_pos=True)

    def tell(point: sweep.Point) -> None:
        points.append(point)
        bar.update(1)

    with bar:
        whole = sweep.run(plan, timeouts, values, tell)
    if as_json:
        head = {"guest": name, "split_lock_detection": dataclasses.asdict(host), "whole": whole}
        click.echo(json.dumps(head | {"points": [dataclasses.asdict(point) for point in points]}, indent=2))
    elif as_csv:
        click.echo(_csv(points), nl=False)
    else:
        click.echo("\n".join([*_table(points), outcome.meaning(plan.guest, host)]))
    if not whole:
        click.echo(f"sldtrace: interrupted after {len(points)} of {total} runs", err=True)


def _csv(points: list[Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["mitigate", "timeout_ns", "loops", "kvm_runs", "eintr", "ran_ns"])
    writer.writerows(dataclasses.astuple(point) for point in points)
    return text.getvalue()


def _table(points: list[Any]) -> list[str]:
    # Rates, and a bar for each: where it begins is where progress begins.
    rates = [point.loops / point.ran_ns * 1e9 for point in points]
    most = max(rates, default=0)
    cells = [("mitigate", "timeout", "KVM_RUN", "loops", "loops/s", "")]
    for point, rate in zip(points, rates, strict=True):
        bar = "#" * max(1, round(_BAR * rate / most)) if rate else "none"
        mitigate = "-" if point.mitigate is None else str(point.mitigate)
        cells.append(
            (
                mitigate,
                render(point.timeout_ns),
                f"{point.kvm_runs:,}",
                f"{point.loops:,}",
                f"{rate:,.0f}",
                bar,
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            [*(text.rjust(width) for text, width in zip(row, widths[:-1], strict=False)), row[-1]]
        ).rstrip()
        for row in cells
    ]
