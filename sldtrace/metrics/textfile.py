"""Writes the metrics of a running recorder into a file, every few seconds, as a whole."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from sldtrace.capture.recorder import Live
from sldtrace.metrics import families
from sldtrace.metrics.exposition import render
from sldtrace.metrics.totals import Totals

EVERY_NS = 5_000_000_000


class Textfile:
    """path: replaced at each look, so that a reader sees all of one look or all of another.

    on_warning: called once with a text if it cannot be written; the recording goes on.
    """

    def __init__(self, path: Path, most: int, on_warning: Callable[[str], None]) -> None:
        self._path, self._most, self._warn = path, most, on_warning
        self._beside = path.with_name(f".{path.name}.{os.getpid()}")
        self._started_ns = time.time_ns()
        self._totals: Totals | None = None
        self._next_ns = 0
        self._failed = False

    def look(self, live: Live, now_ns: int) -> None:
        """Writes the file if it is time for that. now_ns: CLOCK_MONOTONIC."""
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + EVERY_NS
        if self._totals is None:
            self._totals = Totals(live.detector, self._most)
        wall_ns = time.time_ns()
        self._totals.update(live.describe, wall_ns)
        try:
            self._write(render(families.of(self._totals, live.status, self._started_ns, wall_ns)))
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._warn(f"warning: the metrics cannot be written to {self._path}: {error.strerror}")

    # The folder may be another user's: a file or link of the name that is there already is not written to.
    def _write(self, text: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._beside.unlink()
        descriptor = os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o644)  # whatever the umask
            file.write(text)
        os.replace(self._beside, self._path)

    def close(self) -> None:
        """Removes the file: its gauges are no longer true, and Prometheus would keep them."""
        for path in (self._beside, self._path):
            with contextlib.suppress(OSError):
                path.unlink()
