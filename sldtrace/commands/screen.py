"""What `record` prints while it records. A stderr that takes no more text does not stop the recorder."""

import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sldtrace.capture.recorder import Status

_EACH_NS = 10_000_000_000


class Screen:
    """Messages and progress on stderr: on a terminal one line that is overwritten, else a line each 10 s.

    A recorder that waits for its reader loses records. So what stderr does not take at once is left out: a
    pipe that is full, a terminal that was stopped (Ctrl-S). The next message says how many before it were.
    After `end` nothing is left out. If stderr is closed, nothing is printed.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._open = False
        self._next_ns = _EACH_NS
        self._left_out = 0
        self._ended = False

    def message(self, text: str) -> None:
        """Prints a line; while it records, unless stderr is full."""
        if self._ended or _has_room():
            self._finish_line()
            _write(f"sldtrace: {text}\n")
        else:
            self._left_out += 1

    def status(self, status: "Status") -> None:
        """Shows the progress, unless it was shown just now, or stderr is full."""
        if self._quiet or not (self._terminal or status.elapsed_ns >= self._next_ns) or not _has_room():
            return
        line = (
            f"{_clock(status.elapsed_ns)}  traps {status.traps:,}  early returns {status.early_returns:,}"
            f"  lost {status.lost:,}  {status.bytes / 1024:,.0f} KiB  {status.level}  {status.cpu:.1f} % CPU"
        )
        if self._terminal:
            _write(f"\r\x1b[K{line}")
            self._open = True
        else:
            self._next_ns = status.elapsed_ns + _EACH_NS
            _write(f"{line}\n")

    def end(self) -> None:
        """The recording is over: from now on messages wait for their reader."""
        self._ended = True
        self._finish_line()

    # Ends the line that is overwritten, and says what is missing after it.
    def _finish_line(self) -> None:
        if self._open:
            _write("\n")
            self._open = False
        if self._left_out:
            _write(f"sldtrace: messages that are left out here, because stderr was full: {self._left_out}\n")
            self._left_out = 0


# A pipe has room for PIPE_BUF bytes then (pipe(7)), more than a line here; a terminal for some.
def _has_room() -> bool:
    """Does stderr take text at once? Also if it is closed, or not a file of this process."""
    waiting = select.poll()
    try:
        waiting.register(sys.stderr.fileno(), select.POLLOUT)
    except (AttributeError, OSError, ValueError):
        return True
    return bool(waiting.poll(0))


def _write(text: str) -> None:
    with suppress(OSError):
        click.echo(text, err=True, nl=False)


def _clock(ns: int) -> str:
    seconds = ns // 1_000_000_000
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
