"""Sweeps as one SVG picture: a panel for each, measured points on the predicted line."""

from collections.abc import Sequence
from xml.sax.saxutils import escape as quote

from sldtrace.reporters import axis
from sldtrace.reporters.sweep_data import Figure, Series
from sldtrace.text.escape import escape
from sldtrace.text.phrases import significant

_WIDTH, _HEIGHT = 420, 250  # of a panel's plot
_LEFT, _TOP, _GAP, _RIGHT, _BOTTOM = 74, 122, 46, 28, 92
_MOST_IN_ROW = 3
_ROW = _HEIGHT + 96

_INK, _SOFT, _GRID, _CARD = "#1f2933", "#616e7c", "#e4e7eb", "#ffffff"
_PENALIZED, _FREE, _CHANCE = "#c2410c", "#1d6fa5", "#fdf0d5"
_FONT = "'Helvetica Neue', Helvetica, 'DejaVu Sans', Arial, sans-serif"
_TITLE = "How far a guest comes between the signals of its timer"
_MS = 1_000_000


def render(figures: Sequence[Figure]) -> str:
    """The picture of at least one sweep; needs no font but any sans-serif, and nothing from elsewhere."""
    columns = min(len(figures), _MOST_IN_ROW)
    rows = -(-len(figures) // columns)
    width = max(_LEFT + columns * (_WIDTH + _GAP) - _GAP + _RIGHT, 640)
    height = _TOP + rows * _ROW - (_ROW - _HEIGHT) + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" font-family="{_FONT}" font-size="13" fill="{_INK}" role="img">',
        f"<title>{_TITLE}</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="{_CARD}"/>',
        _text(24, 36, _TITLE, size=19, weight=600),
        *_legend(24, 64, figures),
    ]
    tops = axis.ticks(max(figure.top for figure in figures) * 1.04)
    for number, figure in enumerate(figures):
        x = _LEFT + number % columns * (_WIDTH + _GAP)
        y = _TOP + number // columns * _ROW
        parts += _panel(x, y, figure, tops, first=number % columns == 0)
    notes = "; ".join(dict.fromkeys(figure.note for figure in figures))
    parts.append(_text(24, height - 18, notes, size=11, colour=_SOFT))
    return "\n".join([*parts, "</svg>", ""])


def _panel(left: int, top: int, figure: Figure, marks: Sequence[float], first: bool) -> list[str]:
    span = axis.ticks(figure.longest_ns / _MS, 8)

    def x(ns: float) -> float:
        return left + _WIDTH * ns / _MS / span[-1]

    def y(rate: float) -> float:
        return top + _HEIGHT * (1 - rate / marks[-1])

    hertz = round(1e9 / figure.sweep.tick_ns)
    parts = [
        _text(left, top - 14, f"Linux {figure.sweep.release}", size=14, weight=600),
        _text(left + _WIDTH, top - 14, f"HZ={hertz}", size=12, colour=_SOFT, anchor="end"),
    ]
    if figure.chance_ns is not None:
        begin, end = (min(x(ns), left + _WIDTH) for ns in figure.chance_ns)
        parts.append(_box(begin, top, end - begin, _HEIGHT, _CHANCE))
    for mark in marks:
        parts.append(_stroke(left, y(mark), left + _WIDTH, y(mark), _GRID))
        if first:
            parts.append(_text(left - 10, y(mark) + 4, axis.short(mark), size=12, colour=_SOFT, anchor="end"))
    for mark in span:
        parts.append(_stroke(x(mark * _MS), top + _HEIGHT, x(mark * _MS), top + _HEIGHT + 5, _SOFT))
        label, below = significant(mark, 6), top + _HEIGHT + 20
        parts.append(_text(x(mark * _MS), below, label, size=12, colour=_SOFT, anchor="middle"))
    parts.append(_stroke(left, top + _HEIGHT, left + _WIDTH, top + _HEIGHT, _SOFT))
    parts.append(
        _text(left + _WIDTH / 2, top + _HEIGHT + 40, "period of the timer (ms)", size=12, anchor="middle")
    )
    if first:
        middle = top + _HEIGHT / 2
        parts.append(
            f'<text transform="translate({left - 54} {middle:.0f}) rotate(-90)" font-size="12"'
            f' text-anchor="middle">loops finished a second</text>'
        )
    # The penalty is what it is about: it lies on top.
    for one in sorted(figure.series, key=lambda one: one.penalizes):
        if one.line:
            path = " ".join(f"{x(ns):.1f},{y(rate):.1f}" for ns, rate in one.line)
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="{_colour(one)}" stroke-width="2"'
                ' stroke-linejoin="round" opacity="0.55"/>'
            )
        for point in one.points:
            fill = _colour(one) if point.loops else _CARD
            period = significant(point.timeout_ns / _MS, 6)
            title = f"{period} ms: {point.loops:,} loops, {axis.short(point.rate)}/s"
            parts.append(
                f'<circle cx="{x(point.timeout_ns):.1f}" cy="{y(point.rate):.1f}" r="4" fill="{fill}"'
                f' stroke="{_colour(one)}" stroke-width="1.6"><title>{quote(title)}</title></circle>'
            )
    return parts


def _legend(x: float, y: float, figures: Sequence[Figure]) -> list[str]:
    # Each name once: the panels share it.
    parts: list[str] = []
    names = {one.name: one for figure in figures for one in figure.series}
    for name, one in sorted(names.items(), key=lambda pair: not pair[1].penalizes):
        parts.append(f'<circle cx="{x + 5}" cy="{y - 4}" r="4" fill="{_colour(one)}"/>')
        parts.append(_text(x + 16, y, name, size=12))
        x += 34 + 6.7 * len(name)
    if any(not point.loops for figure in figures for one in figure.series for point in one.points):
        parts.append(
            f'<circle cx="{x + 5}" cy="{y - 4}" r="4" fill="{_CARD}" stroke="{_PENALIZED}"'
            ' stroke-width="1.6"/>'
        )
        parts.append(_text(x + 16, y, "not one loop", size=12))
        x += 34 + 6.7 * len("not one loop")
    if any(one.line for figure in figures for one in figure.series):
        parts.append(_stroke(x, y - 4, x + 22, y - 4, _SOFT, 2))
        parts.append(_text(x + 30, y, "model", size=12))
        x += 48 + 6.7 * len("model")
    if any(figure.chance_ns for figure in figures):
        parts.append(_box(x, y - 12, 18, 14, _CHANCE))
        parts.append(_text(x + 26, y, "one jiffy in which chance decides", size=12))
    return parts


def _colour(one: Series) -> str:
    return _PENALIZED if one.penalizes else _FREE


def _text(
    x: float, y: float, text: str, *, size: int, weight: int = 400, colour: str = _INK, anchor: str = "start"
) -> str:
    more = "" if weight == 400 else f' font-weight="{weight}"'
    more += "" if colour == _INK else f' fill="{colour}"'
    more += "" if anchor == "start" else f' text-anchor="{anchor}"'
    # Names come from files of unknown origin.
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}"{more}>{quote(escape(text))}</text>'


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"'
        f' stroke-width="{width}"/>'
    )


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
