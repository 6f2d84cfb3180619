"""Pictures of a report as paths of SVG: numbers only. The texts beside them are in the page's template."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from sldtrace.reporters.axis import short
from sldtrace.reporters.document import Closeup, Histogram, Marks, Rates, Span, Timeline
from sldtrace.text.phrases import length, percent

HEIGHT = 100
"""Of a picture, in its own units; it is stretched."""

WIDTH = 10_000
"""Of a close-up, in its own units."""

_TICKS = 5
_ROWS = 10  # of the table that says the same as a timeline


@dataclass(frozen=True)
class Path:
    """One path: a style is chosen by its kind."""

    kind: str
    d: str


@dataclass(frozen=True)
class Lane:
    """A row of a picture: its name and the paths in it, from back to front."""

    kind: str
    name: str
    paths: Sequence[Path]


def lanes(picture: Timeline) -> Iterator[Lane]:
    """The bands on top of each other, a lane for each of the marks, and one for the steps."""
    sums = [0.0] * columns(picture)
    paths = []
    for band in picture.bands:
        sums = [min(below + share, 1.0) for below, share in zip(sums, band.shares, strict=True)]
        paths.append(Path(band.kind, area(sums)))
    yield Lane("bands", "time", paths[::-1])
    for each in picture.marks:
        yield _marks(each)
    if picture.steps:
        top = max(step for step in picture.steps if step is not None) or 1
        yield Lane("steps", picture.steps_name, [Path("cpu", _line(picture.steps, top))])


def columns(picture: Timeline | Rates) -> int:
    """How many columns it has, which is its width in its own units."""
    return len(picture.bands[0].shares if isinstance(picture, Timeline) else picture.series[0][2])


def _marks(marks: Marks) -> Lane:
    top = max(marks.counts)
    return Lane("marks", f"{marks.name}: {sum(marks.counts):,}", [_scaled(marks.kind, marks.counts, top)])


def rates(picture: Rates) -> Iterator[Lane]:
    """A lane for each series, all to the same scale."""
    top = max((max(values) for _, _, values in picture.series), default=0) or 1
    for kind, name, values in picture.series:
        yield Lane("rates", f"{name}, up to {short(max(values))}/s", [_scaled(kind, values, top)])


def bars(picture: Histogram) -> Iterator[Lane]:
    """A lane for each series, each to its own scale."""
    for kind, name, counts in picture.series:
        yield Lane("rates", f"{name}: {sum(counts):,}", [_scaled(kind, counts, max(counts))])


def pieces(picture: Closeup) -> Iterator[Path]:
    """A path for each kind, and one for the moments."""
    start, scale = picture.span.start_ns, WIDTH / (picture.span.end_ns - picture.span.start_ns)
    found: dict[str, list[str]] = {}
    for piece in picture.pieces:
        x, width = (piece.start_ns - start) * scale, (piece.end_ns - piece.start_ns) * scale
        found.setdefault(piece.kind, []).append(f"M{x:.1f} 0h{width:.1f}v{HEIGHT}h-{width:.1f}z")
    for kind, parts in found.items():
        yield Path(kind, "".join(parts))
    lines = "".join(f"M{(ns - start) * scale:.1f} -20v{HEIGHT + 20}" for ns, _ in picture.moments)
    if lines:
        yield Path("signal", lines)


def kinds(picture: Closeup) -> list[str]:
    """What is in it, in the order of its first pieces."""
    return list(dict.fromkeys(piece.kind for piece in picture.pieces))


def senders(picture: Closeup) -> str:
    """The names of the moments."""
    return ", ".join(dict.fromkeys(name for _, name in picture.moments))


def area(shares: Sequence[float]) -> str:
    """Columns from the bottom up to these shares of the height."""
    heights = [HEIGHT - round(share * HEIGHT) for share in shares]
    return f"M0 {HEIGHT}{_steps(heights)}V{HEIGHT}z"


def ticks(span: Span) -> list[str]:
    """Times at equal distances, as the page's script writes them too."""
    step = (span.end_ns - span.start_ns) / (_TICKS - 1)
    return [moment(span, round(span.start_ns + number * step)) for number in range(_TICKS)]


def moment(span: Span, ns: int) -> str:
    """A time of day in UTC with milliseconds, or seconds of CLOCK_MONOTONIC."""
    if not span.utc:
        return f"{ns / 1e9:.3f} s"
    when = datetime.fromtimestamp(ns // 1_000_000_000, timezone.utc)
    return f"{when:%H:%M:%S}.{ns // 1_000_000 % 1000:03}"


def rows(picture: Timeline) -> Iterator[list[str]]:
    """The picture as a table: begin of each part of the time, shares, numbers."""
    count = columns(picture)
    for number in range(_ROWS):
        first, last = number * count // _ROWS, (number + 1) * count // _ROWS
        begin = picture.span.start_ns + (picture.span.end_ns - picture.span.start_ns) * first // count
        shares = [percent(sum(band.shares[first:last]), last - first) for band in picture.bands]
        counts = [f"{sum(each.counts[first:last]):,}" for each in picture.marks]
        yield [moment(picture.span, begin), *shares, *counts]


def length_of(span: Span) -> str:
    """In words."""
    return length(span.end_ns - span.start_ns)


def _scaled(kind: str, values: Sequence[float], top: float) -> Path:
    return Path(kind, area([value / top if top else 0 for value in values]))


def _steps(heights: Sequence[int]) -> str:
    parts = []
    begun = 0
    for at in range(1, len(heights) + 1):
        if at == len(heights) or heights[at] != heights[begun]:
            parts.append(f"V{heights[begun]}H{at}")
            begun = at
    return "".join(parts)


def _line(steps: Sequence[int | None], top: int) -> str:
    parts = []
    before = None
    for at, step in enumerate(steps):
        if step is None or step == before:
            continue
        y = HEIGHT - 10 - round(step * (HEIGHT - 20) / top)
        parts.append(f"M{at} {y}" if before is None else f"H{at}V{y}")
        before = step
    return "".join(parts) + f"H{len(steps)}"
