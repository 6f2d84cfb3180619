"""Says on stderr what the lab is doing: lines of stages, and on a terminal one line that moves."""

import sys
import threading
import time
from typing import TextIO


class Progress:
    """Stages as lines; `live` overwrites one line and shows on a terminal only. Safe to use from threads."""

    def __init__(
        self, stream: TextIO | None = None, terminal: bool | None = None, quiet: bool = False
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._terminal = self._stream.isatty() if terminal is None else terminal
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._live = ""

    def stage(self, text: str) -> None:
        """One line that stays, with the seconds since the start in front."""
        if self._quiet:
            return
        with self._lock:
            self._wipe()
            self._stream.write(f"lab: [{time.monotonic() - self._start:5.1f} s] {text}\n")
            self._stream.flush()

    def live(self, text: str) -> None:
        """The moving line; nothing at all when stderr is not a terminal."""
        if self._terminal and not self._quiet:
            with self._lock:
                self._wipe()
                self._live = f"lab: [{time.monotonic() - self._start:5.1f} s] {text}"[:100]
                self._stream.write(self._live)
                self._stream.flush()

    def clear(self) -> None:
        """Takes the moving line away, so that other output starts on a clean line."""
        with self._lock:
            self._wipe()
            self._stream.flush()

    def _wipe(self) -> None:
        if self._live:
            self._stream.write("\r" + " " * len(self._live) + "\r")
            self._live = ""
