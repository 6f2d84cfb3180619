"""Sweeps in the terminal: the table of the points, and a plot of them on the predicted line."""

from collections.abc import Iterator

from sldtrace.reporters import axis
from sldtrace.reporters.style import Style
from sldtrace.reporters.sweep_data import Figure, Series
from sldtrace.reporters.tables import table
from sldtrace.text.durations import render as duration
from sldtrace.text.escape import escape
from sldtrace.text.phrases import significant

_HEIGHT = 12  # lines
_MARGIN = 8
_MS = 1_000_000
_PENALIZED, _FREE = "31", "36"  # SGR

# A cell of Braille has two columns of four dots (Unicode, 15.0, "Braille Patterns").
_BLANK = 0x2800
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


def as_table(figure: Figure) -> str:
    """The points: what was measured, and the model's loops a second beside it."""
    rows = [
        {
            "mitigate": "-" if point.mitigate is None else str(point.mitigate),
            "timer": duration(point.timeout_ns),
            "KVM_RUN": f"{point.kvm_runs:,}",
            "loops": f"{point.loops:,}",
            "loops/s": f"{point.rate:,.0f}" if point.loops else "none",
            "model": "-" if rate is None else f"{rate:,.0f}" if rate else "none",
        }
        for one in figure.series
        for point, rate in zip(one.points, one.predicted, strict=True)
    ]
    return table(rows, numbers=True)


def as_plot(figure: Figure, style: Style, unicode: bool = True) -> str:
    """A plot of `style.width` columns. unicode: whether the terminal can show it; else ASCII."""
    canvas = _Canvas(figure, style, unicode)
    for one in sorted(figure.series, key=lambda one: one.penalizes):
        canvas.draw(one)
    title = f"Linux {escape(figure.sweep.release)}: loops finished a second, by the period of the timer (ms)"
    return "\n".join([title, "", *canvas.lines(), "", *canvas.legend()])


class _Canvas:
    """A grid of characters, with the axes around it."""

    def __init__(self, figure: Figure, style: Style, unicode: bool) -> None:
        self._figure, self._style, self._unicode = figure, style, unicode
        self._columns = style.width - _MARGIN - 2
        self._marks = axis.ticks(figure.top * 1.04, 4)
        self._span = axis.ticks(figure.longest_ns / _MS, 8)
        self._cells: dict[tuple[int, int], tuple[str, str]] = {}
        self._dots: dict[tuple[int, int], int] = {}

    def draw(self, one: Series) -> None:
        """The line first, then the points on it."""
        code = _PENALIZED if one.penalizes else _FREE
        for timer, rate in _filled(one, self._columns * 2):
            column = timer / _MS / self._span[-1] * (self._columns * 2 - 1)
            row = (1 - rate / self._marks[-1]) * (_HEIGHT * 4 - 1)
            self._dot(round(column), round(row), code)
        for point in one.points:
            column = round(point.timeout_ns / _MS / self._span[-1] * (self._columns - 1))
            row = round((1 - point.rate / self._marks[-1]) * (_HEIGHT - 1))
            self._cells[row, column] = (self._mark(one, bool(point.loops)), code)

    def lines(self) -> Iterator[str]:
        """From the top to the numbers below."""
        at = {round((1 - mark / self._marks[-1]) * (_HEIGHT - 1)): mark for mark in self._marks}
        corner, side, floor = ("└", "│", "─") if self._unicode else ("+", "|", "-")
        for row in range(_HEIGHT):
            label = axis.short(at[row]) if row in at else ""
            cells = (self._cells.get((row, column), (" ", "")) for column in range(self._columns))
            text = "".join(self._style.paint(char, code) if code else char for char, code in cells)
            yield f"{label:>{_MARGIN}} {side}{text}".rstrip()
        yield " " * (_MARGIN + 1) + corner + floor * self._columns
        below = [" "] * (self._columns + 4)
        for mark in self._span:
            text = significant(mark, 6)
            column = round(mark / self._span[-1] * (self._columns - 1)) - len(text) // 2
            below[max(column, 0) : max(column, 0) + len(text)] = text
        yield " " * (_MARGIN + 2) + "".join(below).rstrip()

    def legend(self) -> Iterator[str]:
        """What the marks mean."""
        for one in self._figure.series:
            code = _PENALIZED if one.penalizes else _FREE
            mark = self._style.paint(self._mark(one, True), code)
            none = (
                "" if all(point.loops for point in one.points) else f", {self._mark(one, False)} not one loop"
            )
            line = ", line: model" if one.line else ""
            yield f"  {mark} {one.name}{none}{line}"

    def _mark(self, one: Series, progress: bool) -> str:
        if not progress:
            return "○" if self._unicode else "o"
        if one.penalizes:
            return "●" if self._unicode else "*"
        return "◆" if self._unicode else "#"

    def _dot(self, column: int, row: int, code: str) -> None:
        cell = row // 4, column // 2
        if self._unicode:
            self._dots[cell] = self._dots.get(cell, _BLANK) | _DOTS[column % 2][row % 4]
            self._cells[cell] = chr(self._dots[cell]), code
        else:
            self._cells[cell] = ".", code


def _filled(one: Series, columns: int) -> Iterator[tuple[float, float]]:
    # The line, close enough that no dot of it is missing.
    for (begin, low), (end, high) in zip(one.line, one.line[1:], strict=False):
        steps = max(2, columns // max(len(one.line), 1) * 4)
        for step in range(steps):
            part = step / steps
            yield begin + (end - begin) * part, low + (high - low) * part
