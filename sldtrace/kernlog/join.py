"""Matches log lines with the threads of a recording, by TID and time."""

from dataclasses import dataclass

from sldtrace.dataset.subject import Subject
from sldtrace.dataset.trace import Trace
from sldtrace.kernlog.survey import Survey, Thread
from sldtrace.text import escape

_TOLERANCE_NS = 2_000_000_000  # times of whole seconds, and the delay of the journal


@dataclass(frozen=True)
class Trapping:
    """A thread of the recording that trapped; addresses: all of its traps."""

    who: Subject
    traps: int
    addresses: frozenset[int]


@dataclass(frozen=True)
class Pair:
    """A thread of the log and the thread of the recording with the same TID.

    when: the lines came `before`, `during` or `after` the recording; `unknown`: the times cannot be
    compared. same_name, same_address: None if one side has none.
    """

    logged: Thread
    recorded: Trapping
    when: str
    same_name: bool | None
    same_address: bool | None


@dataclass(frozen=True)
class Join:
    """All threads of both sides.

    without_line: threads that trapped and have no line. without_trap: threads of the log that did not trap in
    the recording, with `when` as in Pair. by_boot_clock: some times are only known since boot, and were
    compared as if log and recording were of the same boot.
    """

    pairs: list[Pair]
    without_line: list[Trapping]
    without_trap: list[tuple[Thread, str]]
    by_boot_clock: bool


def join(survey: Survey, trace: Trace) -> Join:
    """Pairs lines and threads.

    TIDs are reused: where the names differ, a line belongs to the thread only if its time is inside the
    recording. Each thread of the log is in `pairs` or in `without_trap`, each of the recording in `pairs`
    (perhaps several times: kinds, boots) or in `without_line`.
    """
    recorded = _trapping(trace)
    pairs, without_trap, by_boot_clock = [], [], False
    for logged in survey.traps():
        when, boot_clock = _when(logged, trace)
        by_boot_clock |= boot_clock
        found = recorded.get(logged.tid)
        name = escape.comm(logged.comm)
        same = None if found is None or not found.who.thread else found.who.thread == name
        if found is None or (same is False and when != "during"):
            without_trap.append((logged, when))
            continue
        common = bool(found.addresses & logged.addresses.keys()) if logged.addresses else None
        pairs.append(Pair(logged, found, when, same, common))
    paired = {pair.recorded.who.tid for pair in pairs}
    return Join(
        pairs, [each for tid, each in recorded.items() if tid not in paired], without_trap, by_boot_clock
    )


def _trapping(trace: Trace) -> dict[int, Trapping]:
    found = {}
    # Where a TID is reused in the recording, the name is that of the later thread.
    for _, rows in trace.rows("trap").groupby("tid"):
        known = rows["vcpu"].dropna()
        vcpu = int(known.iloc[-1]) if len(known) else None
        who = trace.subject(int(rows["tgid"].iloc[-1]), int(rows["tid"].iloc[-1]), vcpu)
        found[who.tid] = Trapping(who, len(rows), frozenset(int(rip) for rip in rows["rip"].unique()))
    return found


# And whether only the time since boot could be compared.
def _when(logged: Thread, trace: Trace) -> tuple[str, bool]:
    first, last = logged.first, logged.last
    start, end = (trace.wall_ns(ns) for ns in trace.span_ns)
    if place := _place(first.wall_ns, last.wall_ns, start, end):
        return place, False
    place = _place(first.boot_ns, last.boot_ns, *trace.span_ns)
    return place or "unknown", bool(place)


def _place(first: int | None, last: int | None, start: int | None, end: int | None) -> str:
    if first is None or last is None or start is None or end is None:
        return ""
    if last < start - _TOLERANCE_NS:
        return "before"
    return "after" if first > end + _TOLERANCE_NS else "during"
