"""Tables that fit a terminal: tabulate, without the blanks that it adds to headers."""

from collections.abc import Mapping, Sequence
from typing import Any

import tabulate

_STYLE = tabulate.TableFormat(
    lineabove=None,
    linebelowheader=tabulate.Line("", "-", "  ", ""),
    linebetweenrows=None,
    linebelow=None,
    headerrow=tabulate.DataRow("", "  ", ""),
    datarow=tabulate.DataRow("", "  ", ""),
    padding=0,
    with_header_hide=None,
)


def table(rows: Sequence[Mapping[Any, Any]], numbers: bool = False) -> str:
    """The rows as text; the keys of the first are the headers, the values stay as they are.

    numbers: all columns but the first are to the right.
    """
    before, tabulate.MIN_PADDING = tabulate.MIN_PADDING, 0
    try:
        others = "right" if numbers else "left"
        columns = ["left"] + [others] * (len(rows[0]) - 1) if rows else []
        return tabulate.tabulate(rows, "keys", _STYLE, disable_numparse=True, colalign=columns)
    finally:
        tabulate.MIN_PADDING = before
