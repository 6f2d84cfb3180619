"""Matches log lines with the threads of a recording, by TID and time."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from sldtrace.dataset.rows import BATCH
from sldtrace.dataset.subject import Subject
from sldtrace.dataset.trace import Trace
from sldtrace.kernlog.survey import Survey, Thread
from sldtrace.text import escape

_TOLERANCE_NS = 2_000_000_000  # times of whole seconds, and the delay of the journal


@dataclass(frozen=True)
class Trapping:
    """A thread of the recording that trapped; addresses: those of its traps that the log has."""

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
    recorded = _trapping(trace, {rip for logged in survey.traps() for rip in logged.addresses})
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


# By TID. Where it is reused in the recording, the name is that of the later thread.
def _trapping(trace: Trace, logged: set[int]) -> dict[int, Trapping]:
    known = np.array(sorted(logged), np.uint64)
    counts: Counter[int] = Counter()
    addresses: dict[int, set[int]] = {}
    tgids: dict[int, int] = {}
    vcpu: dict[int, int] = {}  # the last one that is known
    for traps in trace.recording.batches("trap", BATCH):
        order = np.lexsort((traps["start_ns"], traps["tid"]))
        tids = traps["tid"][order]
        heads = np.flatnonzero(np.append(True, tids[1:] != tids[:-1]))
        for tid, rows in zip(tids[heads].tolist(), np.split(order, heads[1:]), strict=True):
            counts[tid] += len(rows)
            rips = np.unique(traps["rip"][rows])
            addresses.setdefault(tid, set()).update(rips[np.isin(rips, known)].tolist())
            vcpus = traps["vcpu"][rows]
            vcpus = vcpus[vcpus >= 0]
            if len(vcpus):
                vcpu[tid] = int(vcpus[-1])
            tgids[tid] = int(traps["tgid"][rows[-1]])
    return {
        tid: Trapping(trace.subject(tgid, tid, vcpu.get(tid)), counts[tid], frozenset(addresses[tid]))
        for tid, tgid in tgids.items()
    }


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
