"""When the threads of a finding were held up, as a line of characters for each of them."""

from typing import Any

from sldtrace.analyzers.finding import Finding
from sldtrace.dataset.trace import Trace
from sldtrace.reporters import wording
from sldtrace.reporters.document import Lanes
from sldtrace.reporters.groups import Group

COLUMNS = 60
"""Characters of a lane: it fits a terminal of 80 columns."""

_HELD, _PROGRESS, _REST = "#", "+", "."


def build(trace: Trace, group: Group) -> Lanes:
    """From the beginning of the recording to its end; a thread with several findings has one lane."""
    start, end = trace.span_ns
    made: dict[tuple[int, int, str], str] = {}
    for each in group.shown:
        who = each.subject
        vcpu = -1 if who is None or who.vcpu is None else who.vcpu
        name = "" if who is None else f"TID {who.tid}" if who.vcpu is None else f"vCPU {who.vcpu}"
        key = vcpu, 0 if who is None else who.tid, name
        made[key] = _merged(made.get(key), _lane(each, start, end))
    width = wording.length((end - start) // COLUMNS)
    legend = f"{_HELD} {group.first.verdict}, each character is {width}"
    if any(_PROGRESS in lane for lane in made.values()):
        legend = f"{_HELD} {group.first.verdict}, {_PROGRESS} progresses, each character is {width}"
    listed = tuple((name, lane) for (_, _, name), lane in sorted(made.items()))
    begin, until = (wording.moment(trace, ns, date=False) for ns in (start, end))
    return Lanes(listed, begin, until, legend)


def _lane(finding: Finding[Any], start: int, end: int) -> str:
    cells = [_REST] * COLUMNS
    if not finding.intervals:
        _fill(cells, _HELD, finding.start_ns - start, finding.end_ns - start, end - start)
    for mark, verdict in ((_PROGRESS, "progresses"), (_HELD, "loop")):
        for each in finding.intervals:
            if each.verdict == verdict:
                _fill(cells, mark, each.start_ns - start, each.end_ns - start, end - start)
    return "".join(cells)


def _fill(cells: list[str], mark: str, begin: int, until: int, span: int) -> None:
    first = min(max(begin * COLUMNS // max(span, 1), 0), COLUMNS - 1)
    last = min(max(until * COLUMNS // max(span, 1), first), COLUMNS - 1)
    cells[first : last + 1] = mark * (last + 1 - first)


def _merged(one: str | None, other: str) -> str:
    if one is None:
        return other
    return "".join(
        next((mark for mark in (_HELD, _PROGRESS) if mark in pair), _REST)
        for pair in zip(one, other, strict=True)
    )
