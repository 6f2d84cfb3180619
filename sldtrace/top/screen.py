"""The terminal of top: curses, because Python contains it and a production host needs no other package."""

import contextlib
import curses
import os
import sys
from collections.abc import Sequence
from typing import Any

from sldtrace.top.frame import RESIZE
from sldtrace.top.table import CRITICAL, HEADING, SELECTED, WARNING, Line

_KEYS = {
    curses.KEY_UP: "up",
    curses.KEY_DOWN: "down",
    curses.KEY_PPAGE: "page up",
    curses.KEY_NPAGE: "page down",
    curses.KEY_HOME: "home",
    curses.KEY_END: "end",
    curses.KEY_LEFT: "left",
    curses.KEY_RIGHT: "right",
    curses.KEY_ENTER: "enter",
    10: "enter",
    13: "enter",
}


class Screen:
    """The whole terminal, from the first `draw` until `close`."""

    def __init__(self) -> None:
        self._window: Any = None
        self._styles: dict[str, int] = {}

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        self._open()
        rows, columns = self._window.getmaxyx()
        return columns, rows

    def draw(self, lines: Sequence[Line]) -> None:
        """Writes the lines; those that do not fit are left out."""
        self._open()
        rows, columns = self._window.getmaxyx()
        self._window.erase()
        for at, line in enumerate(lines[:rows]):
            style = self._styles.get(line.style, 0)
            # The last cell of the screen cannot be written without scrolling.
            text = line.text[: columns - 1]
            self._window.addstr(at, 0, text.ljust(columns - 1) if line.style == HEADING else text, style)
        self._window.refresh()

    def keys(self) -> list[str]:
        """The keys pressed since the last call: characters, and names as in frame.press; never waits."""
        self._open()
        found = []
        while (code := self._window.getch()) != -1:
            if code == curses.KEY_RESIZE:
                curses.update_lines_cols()
                found.append(RESIZE)
            elif code in _KEYS:
                found.append(_KEYS[code])
            elif 0 <= code < 128:
                found.append(chr(code))
        # ncurses misses some changes of the size: those whose SIGWINCH comes while it handles another one.
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
        if (rows, columns) != self._window.getmaxyx() and rows and columns:
            curses.resizeterm(rows, columns)
            found.append(RESIZE)
        return found

    def close(self) -> None:
        """Gives the terminal back."""
        if self._window is not None:
            self._window = None
            curses.endwin()

    def _open(self) -> None:
        if self._window is not None:
            return
        # Half a second after an escape is too long for the arrows.
        os.environ.setdefault("ESCDELAY", "25")
        self._window = curses.initscr()
        curses.noecho()
        curses.cbreak()
        self._window.keypad(True)
        self._window.nodelay(True)
        with contextlib.suppress(curses.error):  # a terminal that cannot hide it
            curses.curs_set(0)
        self._styles = {HEADING: curses.A_REVERSE, SELECTED: curses.A_REVERSE | curses.A_BOLD}
        bold = {CRITICAL: curses.A_BOLD, WARNING: curses.A_BOLD}
        if curses.has_colors() and not os.environ.get("NO_COLOR"):
            curses.start_color()
            curses.use_default_colors()
            curses.init_pair(1, curses.COLOR_RED, -1)
            curses.init_pair(2, curses.COLOR_YELLOW, -1)
            bold = {
                CRITICAL: curses.color_pair(1) | curses.A_BOLD,
                WARNING: curses.color_pair(2) | curses.A_BOLD,
            }
        self._styles |= bold
