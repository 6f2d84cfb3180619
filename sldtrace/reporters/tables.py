"""Tables for a terminal: columns as wide as their content, and narrower where the terminal is."""

from collections.abc import Mapping, Sequence
from typing import Any

_GAP = 2  # blanks between columns; one where the table is wider than it may be
_LEAST = 8  # characters that are left of the first column


def table(rows: Sequence[Mapping[Any, Any]], numbers: bool = False, width: int | None = None) -> str:
    """The rows as text; the keys of the first are the headers ("\\n" in one begins a new line).

    numbers: all columns but the first are aligned to the right. width: characters a line; a table that is
    wider gets one blank between columns, then a shorter first column. Empty without rows.
    """
    if not rows:
        return ""
    names = list(rows[0])
    headers = [str(name).split("\n") for name in names]
    height = max(map(len, headers))
    heads = [[""] * (height - len(lines)) + lines for lines in headers]
    cells = [[str(row[name]) for name in names] for row in rows]
    widths = [
        max(map(len, [*head, *column])) for head, column in zip(heads, zip(*cells, strict=True), strict=True)
    ]
    gap = _GAP
    if width is not None and sum(widths) + gap * (len(widths) - 1) > width:
        gap = 1
        least = min(widths[0], max(_LEAST, *map(len, heads[0])))
        widths[0] = max(least, width - sum(widths[1:]) - gap * (len(widths) - 1))
        cells = [[_cut(first, widths[0]), *others] for first, *others in cells]
    lines = [*zip(*heads, strict=True), ["-" * each for each in widths], *cells]
    return "\n".join(_line(line, widths, numbers, " " * gap) for line in lines)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _line(cells: Sequence[str], widths: Sequence[int], numbers: bool, gap: str) -> str:
    first = cells[0].ljust(widths[0])
    others = [
        text.rjust(width) if numbers else text.ljust(width)
        for text, width in zip(cells[1:], widths[1:], strict=True)
    ]
    return gap.join([first, *others]).rstrip()
