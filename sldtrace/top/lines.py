"""Top without a terminal: a table, or a line of JSON, at each interval."""

import json
from collections.abc import Sequence

from sldtrace.top import table
from sldtrace.top.frame import Header
from sldtrace.top.rows import Row


def as_text(header: Header, vms: Sequence[Row], shown: Sequence[Row], width: int) -> str:
    """The table with all its rows, and an empty line after it."""
    columns = table.fitting(width)
    lines = [header.text(vms), *table.worst(vms, header.since, len(vms))]
    if shown:
        lines += [table.heading(columns), *(table.line(row, columns) for row in shown)]
    else:
        lines.append("no split-lock trap so far")
    return "\n".join([*lines, "", ""])


def as_json(now_ns: int, wall_ns: int | None, header: Header, vms: Sequence[Row], of: Sequence[Row]) -> str:
    """One line of JSON, ASCII only. now_ns: CLOCK_MONOTONIC; of: the threads of all VMs."""
    content = {
        "ns": now_ns,
        "wall_ns": wall_ns,
        "host": header.host,
        "lost": header.lost,
        "cpu_percent": header.cpu,
        "vms": [vm.as_json() for vm in vms],
        "threads": [row.as_json() for row in of],
    }
    return json.dumps(content) + "\n"
