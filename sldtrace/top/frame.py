"""One screen of top: header, rows, keys; and what each key does to the view."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sldtrace.capture.live.detector import Array
from sldtrace.text.phrases import plural
from sldtrace.top import rows as rows_
from sldtrace.top import table
from sldtrace.top.rows import Describe, Row
from sldtrace.top.table import HEADING, PLAIN, SELECTED, WARNING, Line, View

HELP = (
    "q             quit",
    "space, p      pause; the recording goes on",
    "s             sort by the next of: " + ", ".join(rows_.SORT_KEYS),
    "up, down      select a row; page up, page down, home, end",
    "enter, right  show the threads of the selected VM; left: hide them",
    "a             show the threads of all VMs, or of none",
    "h, ?          this help; any key leaves it",
    "",
    "early/s  penalties that a signal ended; detection stays on, and the guest traps again",
    "off/s    how often detection was switched off: each time the guest gets past the instruction",
    "bus/s    bus locks: of a program, those that raised #DB; of a guest, VM exits for them",
    "penalty  share of the time since the last look that a thread spent in penalties",
    "every    mean time between two traps of a thread",
)


@dataclass(frozen=True)
class Header:
    """What is above the rows.

    host, time, mode: as printed; lost: records; cpu: per cent of one CPU that the recorder uses; since: gives
    a time (CLOCK_MONOTONIC, ns) in words.
    """

    host: str
    time: str
    mode: str
    lost: int
    cpu: float | None
    since: Callable[[int], str]

    def text(self, vms: Sequence[Row]) -> str:
        """The first line."""
        threads = sum(row.threads for row in vms)
        parts = [
            f"sldtrace top  {self.host}  {self.time}",
            self.mode,
            f"{plural(len(vms), 'VM')}, {plural(threads, 'thread')}",
            f"{self.lost:,} lost",
            *([f"{self.cpu:.1f} % CPU"] if self.cpu is not None else []),
        ]
        return "  ".join(parts)


def visible(rates: Array, view: View, describe: Describe) -> tuple[list[Row], list[Row]]:
    """The rows of all VMs, and those that are shown: VMs, each with its threads if it is open.

    A VM with one thread has the row of that only.
    """
    vms = rows_.ordered(rows_.vms(rates, describe), view.sort)
    shown: list[Row] = []
    for vm in vms:
        if vm.threads > 1:
            shown.append(vm)
        if vm.threads == 1 or vm.tgid in view.opened or len(vms) == 1:
            mine = rates[rates["tgid"] == vm.tgid]
            shown += rows_.ordered(rows_.threads(mine, describe), view.sort)
    return vms, shown


def frame(
    header: Header, vms: Sequence[Row], shown: Sequence[Row], view: View, width: int, height: int
) -> list[Line]:
    """The lines of a screen of that size. Moves view.first so that the selected row is on it."""
    top = [Line(header.text(vms)), *(Line(text, table.CRITICAL) for text in table.worst(vms, header.since))]
    if not vms:
        top.append(Line("no split-lock trap so far"))
    columns = table.fitting(width)
    body = [Line(table.heading(columns), HEADING)]
    room = max(1, height - len(top) - len(body) - 1)
    if view.help:
        body = [Line(text) for text in HELP]
    else:
        _scroll(view, len(shown), room)
        for at, row in enumerate(shown[view.first : view.first + room], view.first):
            style = SELECTED if at == view.selected else table.tone(row)
            body.append(Line(table.line(row, columns), style))
    keys = f"q quit  space {'go on' if view.paused else 'pause'}  s sort: {view.sort}  enter open  h help"
    hidden = len(shown) - view.first - room
    more = f"  {hidden} more rows" if hidden > 0 and not view.help else ""
    lines = [*top, *body][: height - 1]
    lines += [Line("")] * (height - 1 - len(lines))
    lines.append(Line(("PAUSED  " if view.paused else "") + keys + more, WARNING if view.paused else PLAIN))
    return [Line(table.cut(line.text, width - 1), line.style) for line in lines]


def _scroll(view: View, count: int, room: int) -> None:
    if view.selected is not None:
        view.selected = min(max(view.selected, 0), count - 1) if count else None
    at = view.selected or 0
    view.first = min(max(view.first, at - room + 1), at)
    view.first = max(0, min(view.first, count - room))


def press(key: str, view: View, shown: Sequence[Row], page: int) -> bool:
    """Does what a key does; whether it ends top.

    key: a character, or the name of a key: those of MOVES, enter, left, right, and RESIZE, after which the
    terminal has another size; page: rows of a page.
    """
    if key == RESIZE:
        return False
    if view.help:
        view.help = False
        return key == "q"
    if key == "q":
        return True
    if key in (" ", "p"):
        view.paused = not view.paused
    elif key in ("h", "?"):
        view.help = True
    elif key == "s":
        keys = rows_.SORT_KEYS
        view.sort = keys[(keys.index(view.sort) + 1) % len(keys)]
    elif key == "a":
        view.opened = set() if view.opened else {row.tgid for row in shown}
    elif key in MOVES:
        at = view.selected if view.selected is not None else -1
        view.selected = max(0, at + MOVES[key] * (page if key.startswith("page") else 1))
        if key in ("home", "end"):
            view.selected = 0 if key == "home" else max(0, len(shown) - 1)
    elif key in ("enter", "right", "left") and view.selected is not None and view.selected < len(shown):
        tgid = shown[view.selected].tgid
        if key == "right" or (key == "enter" and tgid not in view.opened):
            view.opened.add(tgid)
        else:
            view.opened.discard(tgid)
            view.selected = next(at for at, row in enumerate(shown) if row.tgid == tgid)
    return False


RESIZE = "resize"
MOVES: Mapping[str, int] = {"up": -1, "down": 1, "page up": -1, "page down": 1, "home": 0, "end": 0}
