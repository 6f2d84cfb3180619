"""Writes to stderr what the lab does: a line for each stage, and how far the present one is.

On a terminal that is a line that moves; elsewhere a line each half minute.
"""

import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

INTERVAL = 30.0


class Progress:
    """Stages, and the state of the present one. Threads may share one."""

    def __init__(
        self,
        stream: TextIO | None = None,
        terminal: bool | None = None,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._terminal = self._stream.isatty() if terminal is None else terminal
        self._clock = clock
        self._lock = threading.Lock()
        self._start = self._written = clock()
        self._live = ""

    def stage(self, text: str) -> None:
        """One line that stays, after the seconds since the start."""
        if not self._quiet:
            with self._lock:
                self._line(text)

    def live(self, text: str) -> None:
        """What is going on: overwrites the moving line; without a terminal, a line each INTERVAL seconds."""
        if self._quiet:
            return
        with self._lock:
            if self._terminal:
                self._wipe()
                self._live = self._stamped(text)[:100]
                self._stream.write(self._live)
                self._stream.flush()
            elif self._clock() - self._written >= INTERVAL:
                self._line(text)

    def clear(self) -> None:
        """Takes the moving line away, so that other output starts on a clean line."""
        with self._lock:
            self._wipe()
            self._stream.flush()

    def _line(self, text: str) -> None:
        self._wipe()
        self._written = self._clock()
        self._stream.write(f"{self._stamped(text)}\n")
        self._stream.flush()

    def _stamped(self, text: str) -> str:
        return f"lab: [{self._clock() - self._start:5.1f} s] {text}"

    def _wipe(self) -> None:
        if self._live:
            self._stream.write("\r" + " " * len(self._live) + "\r")
            self._live = ""
