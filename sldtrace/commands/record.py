"""`sldtrace record`: records the traps of this host into a file, with progress on stderr."""

import os
import re
import shutil
import signal
import sys
import time
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sldtrace.commands.grouped import GroupedCommand
from sldtrace.commands.screen import Screen
from sldtrace.errors import EXIT_FINDING, UsageError
from sldtrace.host import access, cgroup_filter, distribution, split_lock
from sldtrace.host.vms import process
from sldtrace.recording.target import STDOUT
from sldtrace.reporters import wording
from sldtrace.text import durations, sizes
from sldtrace.text.durations import Duration
from sldtrace.text.escape import escape

if TYPE_CHECKING:
    from sldtrace.capture.recorder import Live, RecordOptions, Status
    from sldtrace.commands.workload import Workload
    from sldtrace.metrics.textfile import Textfile


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
            raise click.BadParameter(f"'{value}' is not a range of addresses", context, option)
        pairs.append(pair)
    return tuple(pairs)


# (ns, None) for a time, (None, bytes) for a size.
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
            message = f"'{value}' is neither a time (10m, 1h) nor a size (200M, 1G)"
            raise click.BadParameter(message, context, option) from None
    if value.strip().isdigit() or 0 in pair:
        raise click.BadParameter(f"'{value}' needs a unit: 10m, 1h, 200M, 1G", context, option)
    return pair


_AFTER_CTRL_C_S = 1

_GROUPS = {
    "What is recorded": ("duration", "pid", "tid", "vm", "comm", "cgroup", "address", "exits"),
    "The file": ("output", "force", "keep", "rotate", "rotate_keep"),
    "Findings": ("show", "until", "tail", "on_finding"),
    "What it may cost": ("max_events_per_second", "max_cpu_percent"),
    "For Prometheus": ("metrics", "metrics_vms"),
}


@click.command(
    cls=GroupedCommand,
    groups=_GROUPS,
    context_settings={"allow_interspersed_args": False},
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write; - is standard output. Default: sldtrace-HOST-DATE.sld in this folder.",
)
@click.option(
    "--report", "show", is_flag=True, help="Print the report at the end (without pandas: its summary)."
)
@click.option("-q", "--quiet", is_flag=True, help="Print no progress and no summary.")
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
    help="Lower the level of detail above this many records a second.",
)
@click.option(
    "--max-cpu-percent",
    type=click.FloatRange(min=0, min_open=True, max=100_000),
    default=10.0,
    show_default=True,
    help="Lower the level of detail when recorder and probes use more of one CPU.",
)
@click.option(
    "--keep",
    callback=_limit,
    metavar="TIME|SIZE",
    help="Keep only the last 10m, or the last 200M, of the recording.",
)
@click.option(
    "--rotate", callback=_limit, metavar="TIME|SIZE", help="Start a new file every 1h, or every 100M."
)
@click.option("--rotate-keep", type=click.IntRange(min=1), help="Delete all files but the last N.")
@click.option(
    "--until",
    type=click.Choice(["early-return-loop", "livelock"]),
    help="End with status 3 when there is an early-return loop, or a livelock.",
)
@click.option(
    "--tail",
    type=Duration("0s"),
    default="5s",
    show_default=True,
    help="How long to record after the finding of --until.",
)
@click.option(
    "--on-finding",
    metavar="COMMAND",
    help="Run this with /bin/sh for each early-return loop; standard input: JSON.",
)
@click.option(
    "--metrics",
    type=click.Path(path_type=Path),
    help="Keep counters of each VM in this file, for Prometheus' node_exporter (textfile collector).",
)
@click.option(
    "--metrics-vms",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="VMs and programs with counters of their own; the rest is one, 'other'.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite the file if it exists.")
@click.option("--backend", type=click.Choice(["fentry", "kprobe"]), hidden=True)
@click.option("--ring-pages", type=click.IntRange(min=1), hidden=True)
@click.option("--poll", type=Duration(), hidden=True)
@click.option("--idle", type=Duration(), hidden=True)
def record(**options: Any) -> None:
    """Record the split-lock traps of this host into a file. Needs root.

    \b
    sldtrace record -d 10 --report             ten seconds, and what they show
    sldtrace record -o incident.sld            until Ctrl-C
    sldtrace record --vm web-1 --until livelock
    sldtrace record -- ./reproduce.sh          while a command runs

    Neither guests nor VMMs have to be restarted or changed. Read the file with `sldtrace report FILE`, here
    or on another machine. The recording ends at Ctrl-C, at SIGTERM, after --duration, or when COMMAND ends,
    whose exit status it then has.

    Probes that fire on every VM exit are attached at the first trap, and detached after 30 s without one;
    with --exits all or counts they are attached from the start. Above one of the two limits the recorder
    lowers the level of detail: first no single VM exits, then only traps. It raises the level again when
    the load is down. The file contains each change.
    """
    _check_options(options)
    if options["command"] and shutil.which(options["command"][0]) is None:
        raise UsageError(
            f"there is no program {escape(options['command'][0])} to run", "a file is named by -o FILE"
        )
    access.require()
    for pid in options["pid"]:
        if not process.exists(pid):
            raise UsageError(
                f"there is no process {pid}", "--pid takes the process ID of the VMM, not of a thread"
            )
    for line in _warnings():
        click.echo(f"sldtrace: {line}", err=True)

    # One thread of linear algebra less: numpy is used for its arrays only.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from sldtrace.capture.recorder import FINDING, Recorder
    from sldtrace.commands.workload import Workload

    given, screen = _record_options(options), Screen(options["quiet"])
    metrics = _metrics(options, screen)
    workload = Workload(options["command"]) if options["command"] else None
    looks = [each.look for each in (metrics, workload) if each is not None]

    def look(live: "Live", now_ns: int) -> None:
        for each in looks:
            each(live, now_ns)

    try:
        status = Recorder(given, screen.message, screen.status, look if looks else None).run()
    finally:
        screen.end()
        for one in (metrics, workload):
            if one is not None:
                one.close()
    code = EXIT_FINDING if status.ended_by == FINDING else 0
    if workload is not None and workload.status is not None:
        status.ended_by = f"the end of the command, with status {workload.status}"
        code = workload.status
    elif workload is not None:
        screen.message(_after(workload, status.ended_by))
    if not options["quiet"]:
        click.echo(_summary(status), err=True)
    if options["show"]:
        from sldtrace.commands.report import report

        whole = find_spec("pandas") is not None
        if not whole:
            screen.message(f"the summary only; the report needs {distribution.read().install('pandas')}")
        report.main([*([] if whole else ["--brief"]), str(status.path)], standalone_mode=False)
    if code:
        sys.exit(code)


# Ctrl-C on a terminal goes to the command, too: most commands end by it, but not at once.
def _after(workload: "Workload", ended_by: str) -> str:
    if workload.outlasts(_AFTER_CTRL_C_S if ended_by == signal.SIGINT.name else 0):
        return f"the command has not ended: process {workload.pid}"
    if workload.started:
        return f"the command has ended, too, with status {workload.status}"
    return "the command was not started"


def _check_options(options: dict[str, Any]) -> None:
    if options["output"] == STDOUT and (options["keep"] or options["rotate"]):
        raise UsageError(
            "--keep and --rotate need a file", "what is written to standard output cannot be removed"
        )
    if options["show"] and (options["output"] == STDOUT or options["rotate"]):
        raise UsageError("--report needs one file", "leave out -o - and --rotate")
    if options["metrics"] is not None and (
        options["metrics"].is_dir() or not options["metrics"].absolute().parent.is_dir()
    ):
        raise UsageError(
            f"--metrics {escape(str(options['metrics']))} is not a file in a folder that exists",
            "make the folder first",
        )
    if options["rotate_keep"] is not None and options["rotate"] is None:
        raise UsageError("--rotate-keep needs --rotate", "add --rotate 1h, or --rotate 100M")
    if options["keep"] is not None and options["rotate"] is not None:
        raise UsageError(
            "--keep and --rotate exclude each other", "--rotate-keep limits the number of files of --rotate"
        )


# What the recorder takes, from the options of the command line by their names.
def _record_options(options: dict[str, Any]) -> "RecordOptions":
    from sldtrace.capture.bpf.filters import Filters
    from sldtrace.capture.bpf.sources import Sizes
    from sldtrace.capture.governor import Limits
    from sldtrace.capture.live.finding_watch import FindingOptions
    from sldtrace.capture.recorder import RecordOptions
    from sldtrace.recording.retention import MIN_BYTES, RetentionOptions
    from sldtrace.recording.rotation import RotationOptions

    keep, rotate, cgroup = options["keep"], options["rotate"], options["cgroup"]
    for option, limit in (("--keep", keep), ("--rotate", rotate)):
        if limit is not None and limit[1] is not None and limit[1] < MIN_BYTES:
            raise UsageError(
                f"{option} {sizes.render(limit[1])} is too small", f"at least {sizes.render(MIN_BYTES)}"
            )
    limits = Limits(options["max_events_per_second"], options["max_cpu_percent"])
    if options["idle"]:
        limits = replace(limits, idle_ns=options["idle"])
    pages = options["ring_pages"]
    return RecordOptions(
        path=options["output"] or _path_of_now(),
        duration_ns=options["duration"],
        filters=Filters(
            tgids=options["pid"],
            tids=options["tid"],
            addresses=options["address"],
            comm=options["comm"],
            cgroup=cgroup_filter.cgroup_filter(cgroup) if cgroup is not None else None,
            cgroup_name=cgroup,
            vm=options["vm"],
        ),
        exits=options["exits"],
        limits=limits,
        findings=FindingOptions(options["until"], options["tail"], options["on_finding"]),
        retention=RetentionOptions(*keep) if keep is not None else None,
        rotation=RotationOptions(rotate[1], rotate[0], options["rotate_keep"])
        if rotate is not None
        else None,
        force=options["force"],
        folders=(options["metrics"].absolute().parent,) if options["metrics"] is not None else (),
        backend=options["backend"],
        sizes=Sizes(*[pages] * len(fields(Sizes))) if pages else Sizes(),
        poll_ns=options["poll"] or RecordOptions.poll_ns,
    )


# A name that says where and when it was recorded, and that no file has yet.
def _path_of_now() -> Path:
    host = re.sub(r"[^A-Za-z0-9.-]", "_", os.uname().nodename)
    return Path(f"sldtrace-{host}-{time.strftime('%Y%m%d-%H%M%S')}.sld")


def _metrics(options: dict[str, Any], screen: "Screen") -> "Textfile | None":
    if options["metrics"] is None:
        return None
    from sldtrace.metrics.textfile import Textfile

    return Textfile(options["metrics"], options["metrics_vms"], screen.message)


def _warnings() -> list[str]:
    why_not = split_lock.read().why_no_traps()
    missing = [found for look in access.OPTIONAL if (found := look())]
    lines = [f"{one.message}; {one.hint}" for one in missing]
    return [f"warning: {line}" for line in ([why_not] if why_not else []) + lines]


def _summary(status: "Status") -> str:
    lines = [
        f"sldtrace: {status.traps:,} traps in {status.elapsed_ns / 1e9:.1f} s, {status.early_returns:,} early"
        f" returns, {status.lost:,} records lost; ended by {status.ended_by}"
    ]
    if status.unfinished:
        lines.append(f"sldtrace: {status.unfinished:,} traps had not ended and are not in the file")
    lines.append(f"sldtrace: cost: {wording.cost(status.cost)}")
    if status.path != STDOUT:
        lines.append(f"sldtrace: next: sldtrace report {escape(str(status.path), 4096)}")
    return "\n".join(lines)
