"""Tables for a terminal: columns as wide as their content, and narrower where the terminal is."""

from collections.abc import Mapping, Sequence
from typing import Any

_GAP = 2  # blanks between columns; one where the table is wider than it may be
_LEAST = 8  # characters that are left of the first column


def table(rows: Sequence[Mapping[Any, Any]], numbers: bool = False) -> str:
    """The rows as text; the keys of the first are the headers. Empty without rows.

    numbers: all columns but the first are aligned to the right.
    """
    if not rows:
        return ""
    names = list(rows[0])
    cells = [[str(row[name]) for name in names] for row in rows]
    return lay_out([str(name) for name in names], cells, [False] + [numbers] * (len(names) - 1))


def lay_out(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], width: int | None = None
) -> str:
    """The table as text; "\\n" in a header begins a new line; right: which columns are aligned to the right.

    width: characters a line. A table that is wider gets one blank between columns, then a shorter first one.
    """
    lines = [header.split("\n") for header in headers]
    height = max(map(len, lines))
    heads = [[""] * (height - len(each)) + each for each in lines]
    columns = list(zip(*rows, strict=True)) or [()] * len(headers)
    widths = [max(map(len, [*head, *column])) for head, column in zip(heads, columns, strict=True)]
    gap = _GAP
    if width is not None and sum(widths) + gap * (len(widths) - 1) > width:
        gap = 1
        least = min(widths[0], max(_LEAST, *map(len, heads[0])))
        widths[0] = max(least, width - sum(widths[1:]) - gap * (len(widths) - 1))
        rows = [[_cut(first, widths[0]), *others] for first, *others in rows]
    made = [*zip(*heads, strict=True), ["-" * each for each in widths], *rows]
    return "\n".join(_line(line, widths, right, " " * gap) for line in made)


# In the middle: names often differ at their ends.
def _cut(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    end = (width - 3) // 2
    return f"{text[: width - 3 - end]}...{text[len(text) - end :]}"


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], gap: str) -> str:
    padded = [
        text.rjust(width) if to_right else text.ljust(width)
        for text, width, to_right in zip(cells, widths, right, strict=True)
    ]
    return gap.join(padded).rstrip()
