"""`sldtrace record`: attach the probes, show how it goes, leave one file."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace.durations import Duration
from sldtrace.errors import UsageError
from sldtrace.escape import escape
from sldtrace.host import access, process, splitlock

if TYPE_CHECKING:
    from sldtrace.capture.recorder import Status


@click.command()
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option(
    "-d", "--duration", type=Duration(), help="Stop after this time (30, 500ms, 10m). Default: at Ctrl-C."
)
@click.option("--pid", type=click.IntRange(min=1), help="Record this process (VMM) only.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the file if it exists.")
@click.option("--backend", type=click.Choice(["fentry", "kprobe"]), hidden=True)
@click.option("--ring-pages", type=click.IntRange(min=1), hidden=True)
@click.option("--poll", type=Duration(), hidden=True)
def record(
    output: Path,
    duration: int | None,
    pid: int | None,
    force: bool,
    backend: str | None,
    ring_pages: int | None,
    poll: int | None,
) -> None:
    """Record every split-lock trap on this host into a file, as root, while it happens.

    The guests and the VMMs need not be restarted or changed. Read the file with `sldtrace report FILE`,
    here or on another machine. The recording ends at Ctrl-C, at SIGTERM, or after --duration.
    """
    access.require()
    if pid is not None and not process.exists(pid):
        raise UsageError(
            f"there is no process {pid}", "--pid wants the process ID of the VMM, not of a thread"
        )
    for line in _warnings():
        click.echo(f"sldtrace: {line}", err=True)

    from sldtrace.capture.program import Sizes
    from sldtrace.capture.recorder import Order, Recorder

    order = Order(output, duration, pid, force, backend)
    if ring_pages:
        order = Order(**{**vars(order), "sizes": Sizes(ring_pages, ring_pages, ring_pages)})
    if poll:
        order = Order(**{**vars(order), "poll_ns": poll})
    screen = _Screen()
    try:
        status = Recorder(order, screen.say, screen.status).run()
    finally:
        screen.end()
    click.echo(_summary(status, output), err=True)


def _warnings() -> list[str]:
    why_not = splitlock.read().why_no_traps()
    lacks = [lack for look in access.LIMITS if (lack := look())]
    lines = [f"{lack.message}; {lack.hint}" for lack in lacks]
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
            f"  drops {status.lost:,}  {status.bytes / 1024:,.0f} KiB"
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


def _summary(status: "Status", output: Path) -> str:
    lines = [
        f"sldtrace: {status.traps:,} traps in {status.elapsed_ns / 1e9:.1f} s, {status.early_returns:,} early"
        f" returns, {status.lost:,} records lost; ended by {status.ended_by}"
    ]
    if status.unfinished:
        lines.append(f"sldtrace: {status.unfinished:,} traps had not ended and are not in the file")
    lines.append(f"sldtrace: next: sldtrace report {escape(str(output), 4096)}")
    return "\n".join(lines)
