"""`sldtrace record`: attach the probes, show how it goes, leave one file."""

import contextlib
import os
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace.errors import EXIT_FINDING, UsageError
from sldtrace.host import access, cgroup_filter, split_lock
from sldtrace.host.vms import process
from sldtrace.reporters import wording
from sldtrace.text import durations, sizes
from sldtrace.text.durations import Duration
from sldtrace.text.escape import escape

if TYPE_CHECKING:
    from sldtrace.capture.recorder import Status


def _addresses(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[int, int], ...]:
    pairs = []
    for value in values:
        first, _, last = value.partition("-")
        try:
            pair = int(first, 16), int(last or first, 16)
        except ValueError:
            raise click.BadParameter(
                f"'{value}' is not like 0x4018 or 0x4000-0x4fff", context, option
            ) from None
        if not 0 <= pair[0] <= pair[1] < 1 << 64:
            raise click.BadParameter(f"'{value}' is no range of addresses", context, option)
        pairs.append(pair)
    return tuple(pairs)


# A length of time or an amount of bytes, as a pair of which one is None.
def _limit(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[int | None, int | None] | None:
    if value is None:
        return None
    pair: tuple[int | None, int | None]
    try:
        pair = durations.parse(value), None
    except ValueError:
        try:
            pair = None, sizes.parse(value)
        except ValueError:
            message = f"'{value}' is neither a length of time (10m, 1h) nor an amount of bytes (200M, 1G)"
            raise click.BadParameter(message, context, option) from None
    if value.strip().isdigit() or 0 in pair:
        raise click.BadParameter(f"'{value}' wants a unit: 10m, 1h, 200M, 1G", context, option)
    return pair


@click.command()
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option(
    "-d",
    "--duration",
    type=Duration(most="8760h"),
    help="Stop after this time (30, 500ms, 10m). Default: at Ctrl-C.",
)
@click.option("--pid", type=click.IntRange(min=1), multiple=True, help="Only this process (VMM); repeatable.")
@click.option("--tid", type=click.IntRange(min=1), multiple=True, help="Only this thread (vCPU); repeatable.")
@click.option("--vm", metavar="NAME", help="Only VMs of this name, UUID or id; * matches any text.")
@click.option("--comm", metavar="NAME", help="Only threads of this name, such as 'CPU 0/KVM' or 'CPU*'.")
@click.option("--cgroup", metavar="PATH", help="Only processes of this cgroup (v2) and those below it.")
@click.option(
    "--address",
    callback=_addresses,
    multiple=True,
    help="Only this guest address, or FIRST-LAST; repeatable.",
)
@click.option(
    "--exits",
    type=click.Choice(["recent", "all", "counts", "none"]),
    default="recent",
    show_default=True,
    help="Record VM exits of vCPUs that trapped in the last second, of all vCPUs, counts of all, or none.",
)
@click.option(
    "--max-events-per-second",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    help="Record less detail when there are more records than this.",
)
@click.option(
    "--max-cpu-percent",
    type=click.FloatRange(min=0, min_open=True, max=100_000),
    default=10.0,
    show_default=True,
    help="Record less detail when recorder and probes take more of one CPU than this.",
)
@click.option(
    "--keep", callback=_limit, metavar="TIME|SIZE", help="Keep the last 10m, or the last 200M, on the disk."
)
@click.option(
    "--rotate", callback=_limit, metavar="TIME|SIZE", help="Begin a new file every 1h, or every 100M."
)
@click.option("--rotate-keep", type=click.IntRange(min=1), help="Delete all files but the last N.")
@click.option(
    "--until",
    type=click.Choice(["early-return-loop", "livelock"]),
    help="End, with status 3, when a vCPU is caught in such a loop, or livelocks.",
)
@click.option(
    "--tail", type=Duration("0s"), default="5s", show_default=True, help="Record so much more after --until."
)
@click.option(
    "--on-finding",
    metavar="COMMAND",
    help="Run this by /bin/sh for each such loop, JSON on its standard input.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite the file if it exists.")
@click.option("--backend", type=click.Choice(["fentry", "kprobe"]), hidden=True)
@click.option("--ring-pages", type=click.IntRange(min=1), hidden=True)
@click.option("--poll", type=Duration(), hidden=True)
@click.option("--idle", type=Duration(), hidden=True)
def record(
    output: Path,
    duration: int | None,
    pid: tuple[int, ...],
    tid: tuple[int, ...],
    vm: str | None,
    comm: str | None,
    cgroup: str | None,
    address: tuple[tuple[int, int], ...],
    exits: str,
    max_events_per_second: int,
    max_cpu_percent: float,
    keep: tuple[int | None, int | None] | None,
    rotate: tuple[int | None, int | None] | None,
    rotate_keep: int | None,
    until: str | None,
    tail: int,
    on_finding: str | None,
    force: bool,
    backend: str | None,
    ring_pages: int | None,
    poll: int | None,
    idle: int | None,
) -> None:
    """Record every split-lock trap on this host into a file, as root, while it happens.

    The guests and the VMMs need not be restarted or changed. Read the file with `sldtrace report FILE`,
    here or on another machine. The recording ends at Ctrl-C, at SIGTERM, or after --duration.

    What fires on every VM exit is attached when somebody traps, and taken off when nobody has for 30 s;
    with --exits all or counts it is attached from the start. Above one of the two limits less is recorded:
    first no single exits, then nothing but traps; and more again when the load is down. The file says when.
    """
    if rotate_keep is not None and rotate is None:
        raise UsageError("--rotate-keep is about the files of --rotate", "add --rotate 1h, or --rotate 100M")
    if keep is not None and rotate is not None:
        raise UsageError(
            "--keep and --rotate exclude each other", "--rotate-keep limits what --rotate leaves"
        )
    access.require()
    for each in pid:
        if not process.exists(each):
            raise UsageError(
                f"there is no process {each}", "--pid wants the process ID of the VMM, not of a thread"
            )
    group = cgroup_filter.cgroup_filter(cgroup) if cgroup is not None else None
    for line in _warnings():
        click.echo(f"sldtrace: {line}", err=True)

    # One thread of linear algebra less: numpy is here for its arrays.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from sldtrace.capture.bpf.filters import Filters
    from sldtrace.capture.bpf.sources import Sizes
    from sldtrace.capture.governor import Limits
    from sldtrace.capture.live.alarm import Alarms
    from sldtrace.capture.recorder import FINDING, Order, Recorder
    from sldtrace.recording.retention import LEAST_BYTES, Keep
    from sldtrace.recording.rotation import Rotate

    for option, limit in (("--keep", keep), ("--rotate", rotate)):
        if limit is not None and limit[1] is not None and limit[1] < LEAST_BYTES:
            raise UsageError(
                f"{option} {sizes.render(limit[1])} is too little", f"at least {sizes.render(LEAST_BYTES)}"
            )
    filters = Filters(pid, tid, address, comm, group, cgroup, vm)
    limits = Limits(max_events_per_second, max_cpu_percent)
    order = Order(output, duration, filters, exits, limits, force=force, backend=backend)
    order = replace(order, alarms=Alarms(until, tail, on_finding))
    if keep is not None:
        order = replace(order, keep=Keep(*keep))
    if rotate is not None:
        order = replace(order, rotate=Rotate(rotate[1], rotate[0], rotate_keep))
    if ring_pages:
        order = replace(order, sizes=Sizes(*[ring_pages] * len(fields(Sizes))))
    if poll:
        order = replace(order, poll_ns=poll)
    if idle:
        order = replace(order, limits=replace(limits, idle_ns=idle))
    screen = _Screen()
    try:
        status = Recorder(order, screen.say, screen.status).run()
    finally:
        screen.end()
    click.echo(_summary(status), err=True)
    if status.ended_by == FINDING:
        sys.exit(EXIT_FINDING)


def _warnings() -> list[str]:
    why_not = split_lock.read().why_no_traps()
    missing = [found for look in access.OPTIONAL if (found := look())]
    lines = [f"{one.message}; {one.hint}" for one in missing]
    return [f"warning: {line}" for line in ([why_not] if why_not else []) + lines]


class _Screen:
    """Progress on stderr: one line that is written over on a terminal, few plain lines elsewhere."""

    _QUIET_NS = 10_000_000_000

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._open = False
        self._next_ns = self._QUIET_NS

    def say(self, text: str) -> None:
        self.end()
        self._write(f"sldtrace: {text}\n")

    def status(self, status: "Status") -> None:
        line = (
            f"{_clock(status.elapsed_ns)}  traps {status.traps:,}  early returns {status.early_returns:,}"
            f"  drops {status.lost:,}  {status.bytes / 1024:,.0f} KiB  {status.level}  {status.cpu:.1f} % CPU"
        )
        if self._terminal:
            self._write(f"\r\x1b[K{line}")
            self._open = True
        elif status.elapsed_ns >= self._next_ns:
            self._next_ns = status.elapsed_ns + self._QUIET_NS
            self._write(f"{line}\n")

    def end(self) -> None:
        if self._open:
            self._write("\n")
            self._open = False

    # A recording does not end because nobody can be told of it.
    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            click.echo(text, err=True, nl=False)


def _clock(ns: int) -> str:
    seconds = ns // 1_000_000_000
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _summary(status: "Status") -> str:
    lines = [
        f"sldtrace: {status.traps:,} traps in {status.elapsed_ns / 1e9:.1f} s, {status.early_returns:,} early"
        f" returns, {status.lost:,} records lost; ended by {status.ended_by}"
    ]
    if status.unfinished:
        lines.append(f"sldtrace: {status.unfinished:,} traps had not ended and are not in the file")
    lines.append(f"sldtrace: cost: {wording.cost(status.cost)}")
    lines.append(f"sldtrace: next: sldtrace report {escape(str(status.path), 4096)}")
    return "\n".join(lines)
