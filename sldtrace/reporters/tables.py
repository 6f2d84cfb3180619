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


def table(rows: Sequence[Mapping[Any, Any]], right: bool = False) -> str:
    """The rows as text; the keys of the first are the headers, the values stay as they are."""
    before, tabulate.MIN_PADDING = tabulate.MIN_PADDING, 0
    try:
        align = "right" if right else "left"
        return tabulate.tabulate(rows, "keys", _STYLE, disable_numparse=True, stralign=align)
    finally:
        tabulate.MIN_PADDING = before
