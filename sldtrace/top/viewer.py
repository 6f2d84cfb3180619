"""Shows the threads of a detector at each interval: on the terminal, or as lines."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

import click

from sldtrace.capture.live.detector import Array, Detector
from sldtrace.capture.live.rates import Rates
from sldtrace.top import lines, rows
from sldtrace.top.frame import Header, frame, press, visible
from sldtrace.top.rows import Describe
from sldtrace.top.screen import Screen
from sldtrace.top.table import View

_WIDTH = 120  # where the output is not a terminal


@dataclass(frozen=True)
class Options:
    """delay_ns: between two looks; count: of looks, None: until the end; sort: one of rows.SORT_KEYS."""

    delay_ns: int
    count: int | None = None
    sort: str = "verdict"
    as_json: bool = False
    utc: bool = False


class Viewer:
    """host, mode: for the first line, escaped."""

    def __init__(self, options: Options, host: str, mode: str) -> None:
        self._options, self._host, self._mode = options, host, mode
        self._view = View(sort=options.sort)
        on_terminal = sys.stdout.isatty() and sys.stdin.isatty() and not options.as_json
        self._screen = Screen() if on_terminal else None
        self._rates: Rates | None = None
        self._shown: _Look | None = None
        self._looks, self._next_ns = 0, 0

    def message(self, text: str) -> None:
        """A line for the user, unless the screen is in use."""
        if self._screen is None or not self._looks:
            click.echo(f"sldtrace: {text}", err=True)

    def look(
        self,
        now_ns: int,
        wall_ns: int | None,
        detector: Detector,
        describe: Describe,
        lost: int,
        cpu: float | None,
        selected: Callable[[int], bool] | None = None,
        last: bool = False,
    ) -> bool:
        """Shows what there is if it is time for that, or `last`; does what the keys say; whether top ends.

        now_ns, wall_ns: the time on CLOCK_MONOTONIC, and since 1970 (None: not known); selected: of a TGID.
        """
        if self._rates is None:
            self._rates, self._next_ns = Rates(detector), now_ns + self._options.delay_ns
        due = last or now_ns >= self._next_ns
        if due:
            # As late as this look may be, the next one is not later for it.
            self._next_ns = max(self._next_ns, now_ns - self._options.delay_ns) + self._options.delay_ns
            self._looks += 1
            if not self._view.paused:
                found = self._rates.rows()
                if selected is not None and len(found):
                    found = found[[selected(int(tgid)) for tgid in found["tgid"]]]
                self._shown = _Look(now_ns, wall_ns, found, describe, lost, cpu)
        if self._screen is None:
            if due and self._shown is not None:
                self._print(self._shown)
        elif self._use(self._screen, due):
            return True
        return due and self._looks == self._options.count

    def stay(self) -> None:
        """On a terminal: shows the last look until a key ends it."""
        while self._screen is not None and self._shown is not None and not self._use(self._screen, False):
            time.sleep(0.05)

    def close(self) -> None:
        """Gives the terminal back."""
        if self._screen is not None:
            self._screen.close()

    # Draws if it is time, or if a key was pressed; whether a key ends top.
    def _use(self, screen: Screen, due: bool) -> bool:
        shown = self._shown
        if shown is None:
            return False
        keys = screen.keys()
        if not due and not keys:
            return False
        width, height = screen.size
        vms, visible_rows = visible(shown.rates, self._view, shown.describe)
        for key in keys:
            if press(key, self._view, visible_rows, max(1, height - 5)):
                return True
        vms, visible_rows = visible(shown.rates, self._view, shown.describe)
        screen.draw(frame(self._header(shown), vms, visible_rows, self._view, width, height))
        return False

    def _print(self, shown: "_Look") -> None:
        vms, visible_rows = visible(shown.rates, View(self._view.sort, opened=_All()), shown.describe)
        header = self._header(shown)
        if self._options.as_json:
            each = rows.ordered(rows.threads(shown.rates, shown.describe), self._view.sort)
            text = lines.as_json(shown.now_ns, shown.wall_ns, header, vms, each)
        else:
            text = lines.as_text(header, vms, visible_rows, _WIDTH)
        click.echo(text, nl=False)

    def _header(self, shown: "_Look") -> Header:
        return Header(
            self._host,
            "" if shown.wall_ns is None else f"{self._time(shown.wall_ns):%H:%M:%S %Z}",
            self._mode,
            shown.lost,
            shown.cpu,
            lambda ns: self._since(shown, ns),
        )

    def _since(self, shown: "_Look", ns: int) -> str:
        seconds = max(0, (shown.now_ns - ns) // 1_000_000_000)
        began = None if shown.wall_ns is None else shown.wall_ns - (shown.now_ns - ns)
        return f"{self._time(began):%H:%M:%S}, {seconds:,} s" if began is not None else f"{seconds:,} s ago"

    def _time(self, wall_ns: int) -> datetime:
        moment = datetime.fromtimestamp(wall_ns // 1_000_000_000, timezone.utc)
        return moment if self._options.utc else moment.astimezone()


@dataclass(frozen=True)
class _Look:
    now_ns: int
    wall_ns: int | None
    rates: Array
    describe: Describe
    lost: int
    cpu: float | None


# Every VM is open.
class _All(set[int]):
    def __contains__(self, tgid: object) -> bool:
        return True
