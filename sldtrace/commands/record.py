"""`sldtrace record`: attach the probes, show how it goes, leave one file."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace.durations import Duration
from sldtrace.errors import UsageError
from sldtrace.escape import escape
from sldtrace.host import access, kernel, process, splitlock

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
    lines = []
    lock = splitlock.read()
    if not lock.detects_split_locks:
        lines.append("warning: this CPU has no split-lock detection: nothing can trap on this host")
    elif lock.mode == "off" or lock.mode.startswith("ratelimit"):
        mode = escape(lock.mode)
        lines.append(f"warning: booted with split_lock_detect={mode}: split locks do not trap on this host")
    if not kernel.has_tracepoint("kvm", "kvm_exit"):
        lines.append(
            "warning: KVM is not loaded: no VM exits and no vCPU ids will be recorded; modprobe kvm_intel"
        )
    if not kernel.has_btf():
        lines.append("warning: the kernel has no BTF (CONFIG_DEBUG_INFO_BTF): using kprobes, which cost more")
    return lines


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
