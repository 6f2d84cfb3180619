"""`sldtrace top`: the VMs and vCPUs that trap, each second; of this host, or of a recording."""

import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sldtrace.commands import recordings
from sldtrace.errors import UsageError
from sldtrace.host import access, facts, split_lock
from sldtrace.text.durations import Duration
from sldtrace.text.escape import escape

if TYPE_CHECKING:
    from sldtrace.capture.recorder import Live
    from sldtrace.top.viewer import Options

_SORT_KEYS = ("verdict", "traps", "early", "penalty", "progress", "name")


@click.command()
@click.argument(
    "paths", metavar="[FILE|DIRECTORY]...", nargs=-1, type=click.Path(path_type=Path, readable=False)
)
@click.option(
    "-d",
    "--delay",
    type=Duration("200ms", "1h"),
    default="1s",
    show_default=True,
    help="Time between two looks.",
)
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after this many looks.")
@click.option("--vm", metavar="NAME", help="Only VMs of this name, UUID or id; * matches any text.")
@click.option(
    "--sort", type=click.Choice(_SORT_KEYS), default="verdict", show_default=True, help="The first order."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Record into this file as well.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each look.")
@click.option(
    "--speed",
    metavar="FACTOR|max",
    help="How fast a recording is played: a factor (default 1), or max, without waiting.",
)
@click.option("--utc", is_flag=True, help="Times in UTC, not in local time.")
def top(**options: Any) -> None:
    """Show the VMs and vCPUs that trap, each second. Needs root, except with FILE.

    Without FILE it attaches the probes of `sldtrace record` to this host, and writes no file unless -o says
    so. With FILE (or a folder of the service) it plays a recording as if it happened now.

    On a terminal it is a table that is written again; h lists the keys. Elsewhere it prints the table at
    each look, or with --json a line.
    """
    if options["paths"]:
        _replay(options)
    elif options["speed"] is not None:
        raise UsageError("--speed is for a recording", "name a file: sldtrace top FILE --speed 10")
    else:
        _live(options)


def _options(options: Mapping[str, Any]) -> "Options":
    from sldtrace.top.viewer import Options

    return Options(
        options["delay"], options["count"], options["sort"], options["as_json"], utc=options["utc"]
    )


def _live(options: Mapping[str, Any]) -> None:
    access.require()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from sldtrace.capture.bpf.filters import Filters
    from sldtrace.capture.live.detector import LAG_NS
    from sldtrace.capture.recorder import Recorder, RecordOptions
    from sldtrace.top.viewer import Viewer

    clock, lock = facts.clock(), split_lock.read()
    offset = clock["realtime_ns"] - clock["monotonic_ns"]
    viewer = Viewer(_options(options), socket.gethostname(), _mode(lock.mode, lock.mitigate))

    def look(live: "Live", now_ns: int) -> None:
        status = live.status
        if viewer.look(now_ns, now_ns + offset, live.detector, live.describe, status.lost, status.cpu):
            signal.raise_signal(signal.SIGINT)  # the recorder ends as at Ctrl-C

    given = RecordOptions(options["output"], filters=Filters(vm=options["vm"]))
    try:
        Recorder(given, viewer.message, lambda status: None, look, LAG_NS).run()
    finally:
        viewer.close()


def _replay(options: Mapping[str, Any]) -> None:
    if options["output"] is not None:
        raise UsageError("-o is for this host", "a recording is a file already")
    speed = _speed(options["speed"])
    from sldtrace.top import replay
    from sldtrace.top.viewer import Viewer

    with recordings.open_one(options["paths"]) as trace:
        mode = _mode(trace.text("split_lock", "mode"), trace.number("split_lock", "mitigate"))
        viewer = Viewer(_options(options), escape(trace.text("host", "name")), mode)
        try:
            replay.play(trace, viewer, speed, options["vm"])
        finally:
            viewer.close()


def _mode(mode: str | None, mitigate: int | None) -> str:
    known = "unknown" if mitigate is None else mitigate
    return f"mode {escape(mode or 'unknown')}, mitigate {known}"


def _speed(text: str | None) -> float | None:
    if text == "max":
        return None
    try:
        found = 1.0 if text is None else float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise UsageError(f"--speed '{escape(text or '')}' is not a factor", "for example --speed 10, or max")
    return found
