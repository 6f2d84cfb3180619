"""The pictures of a report: what each thread that trapped did over time, single traps, rates, sleeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sldtrace.analyzers.finding import Finding
from sldtrace.dataset import folding, time_columns
from sldtrace.dataset.trace import Trace
from sldtrace.engine.time_columns import GUEST, OUTSIDE, SEMAPHORE, SLEEP, STATES, TimeColumns
from sldtrace.host import signals
from sldtrace.lazy import pd
from sldtrace.recording.layout import Records
from sldtrace.reporters import wording
from sldtrace.reporters.document import (
    Band,
    Closeup,
    Histogram,
    Marks,
    Piece,
    Rates,
    Section,
    Span,
    Text,
    Timeline,
)

_NAMES = {
    SLEEP: "sleep of the penalty",
    SEMAPHORE: "wait for the semaphore",
    GUEST: "guest",
    OUTSIDE: "kernel and VMM",
}
_RATES = 256  # columns, at least: in narrower ones the rate of a regular loop seems to vary
_KINDS = {"early returns": "early", "completed": "completed", "not penalized": "free"}


def sections(trace: Trace, found: Sequence[Finding[Any]], threads: pd.DataFrame) -> Iterator[Section]:
    """Nothing without traps. `threads` as analyzers.threads.summarize gives it, with findings."""
    if not len(threads):
        return
    chosen = _chosen(found, threads)
    data = time_columns.read(trace, chosen)
    shown = chosen[: time_columns.MOST_THREADS]
    by_key = threads.set_index(["tgid", "tid"])
    parts = [
        _thread(trace, data, row, by_key.loc[(tgid, tid)], tgid, tid)
        for row, (tgid, tid, _) in enumerate(shown)
    ]
    blocks = [Text(_EXPLAINED)]
    if len(chosen) > len(shown):
        blocks.append(
            Text(
                f"Pictures of {len(shown)} of {len(chosen):,} threads: first those with findings, then those "
                "with the most traps. The table of threads has all of them."
            )
        )
    yield Section("What each thread did", blocks, parts)
    yield Section("All threads", [_rates(trace, data), *_sleeps(trace, data), *_windows(trace, data)])


_EXPLAINED = (
    "Each picture is one thread that trapped, from the beginning of the recording to its end. The height of "
    "a colour is its share of the time. Without colour: the thread did not trap then, or its VM exits were "
    "not watched. All pictures are zoomed together. Single traps at any time: "
    "sldtrace export --format perfetto."
)


# First the threads that findings are about, in their order; then those with most traps.
def _chosen(found: Sequence[Finding[Any]], threads: pd.DataFrame) -> list[tuple[int, int, int]]:
    since: dict[tuple[int, int], int] = {}
    for each in found:
        if each.subject is not None:
            since.setdefault((each.subject.tgid, each.subject.tid), each.start_ns)
    known = set(zip(threads["tgid"].tolist(), threads["tid"].tolist(), strict=True))
    listed = [key for key in since if key in known]
    others = [
        key for key in zip(threads["tgid"].tolist(), threads["tid"].tolist(), strict=True) if key not in since
    ]
    return [(*key, since.get(key, 0)) for key in (*listed, *others)]


def _span(trace: Trace, data: TimeColumns) -> Span:
    columns = data.columns
    return _moments(trace, columns.start_ns, columns.start_ns + columns.width_ns * columns.count)


def _moments(trace: Trace, start_ns: int, end_ns: int) -> Span:
    wall = trace.wall_ns(start_ns)
    if wall is None:
        return Span(start_ns, end_ns, False)
    return Span(wall, wall + end_ns - start_ns, True)


def _thread(trace: Trace, data: TimeColumns, row: int, sums: Any, tgid: int, tid: int) -> Section:
    vcpu = None if pd.isna(sums["vcpu"]) else int(sums["vcpu"])
    who = trace.subject(tgid, tid, vcpu)
    name = wording.thread(who) if who.vcpu is None else f"vCPU {who.vcpu} of {wording.thread(who)}"
    width = data.columns.width_ns
    bands = [
        Band(state, _NAMES[state], np.minimum(data.states[state][row] / width, 1).tolist())
        for state in STATES
    ]
    marks = [
        Marks("early", "early returns", data.early_returns[row].tolist()),
        Marks("signal", "signals", data.signals[row].tolist()),
    ]
    cpus = data.cpu[row]
    used = sorted(set(cpus[cpus >= 0].tolist()))
    listed = ", ".join(str(cpu) for cpu in used[:16]) + (", ..." if len(used) > 16 else "")
    text = (
        f"{wording.plural(int(sums['traps']), 'trap')}, of which {int(sums['early_returns']):,} early "
        f"returns and {int(sums['completed']):,} completed penalties; "
        f"slept {wording.length(int(sums['slept_ns']))}; "
        f"verdict: {sums['verdict']}."
    )
    timeline = Timeline(
        name,
        text,
        _span(trace, data),
        [band for band in bands if any(band.shares)],
        [each for each in marks if any(each.counts)],
        [None if cpu < 0 else used.index(cpu) for cpu in cpus.tolist()] if len(used) > 1 else (),
        f"CPU {listed}",
    )
    first = data.first(row)
    return Section(blocks=[timeline, *([_closeup(trace, name, first)] if first is not None else [])])


_SHOWN_TRAPS = 24


# The traps of a thread one by one. Where guest time lies between two traps is not recorded: it is drawn
# directly before the trap, because the guest ran then.
def _closeup(trace: Trace, name: str, traps: Records) -> Closeup:
    traps = traps[np.argsort(traps["start_ns"], kind="stable")][:_SHOWN_TRAPS]
    start, end, sleep, wait, guest, signal = (
        traps[field].astype(np.int64).tolist()
        for field in ("start_ns", "end_ns", "sleep_ns", "semaphore_ns", "guest_ns", "signal_ns")
    )
    span = _moments(trace, start[0], max(end[-1], start[0] + 1))
    shift = span.start_ns - start[0]
    pieces = []
    for at in range(len(traps)):
        woken = start[at] + sleep[at]
        for kind, begin, until in (
            (SLEEP, start[at], woken),
            (SEMAPHORE, woken, woken + wait[at]),
            (OUTSIDE, woken + wait[at], end[at]),
        ):
            pieces.append(Piece(kind, begin + shift, until + shift))
        if at:
            ran = min(guest[at], max(start[at] - end[at - 1], 0))
            pieces.append(Piece(OUTSIDE, end[at - 1] + shift, start[at] - ran + shift))
            pieces.append(Piece(GUEST, start[at] - ran + shift, start[at] + shift))
    moments = [
        (ns + shift, signals.name(int(number)))
        for ns, number in zip(signal, traps["signal"].tolist(), strict=True)
        if ns and start[0] <= ns <= end[-1]
    ]
    count = wording.plural(len(traps), "trap")
    text = (
        f"The first {count} one by one, {wording.length(end[-1] - start[0])} in all, with "
        f"{wording.plural(len(moments), 'signal')} that ended a sleep or a wait."
    )
    return Closeup(
        f"{name}: single traps", text, span, [each for each in pieces if each.end_ns > each.start_ns], moments
    )


def _rates(trace: Trace, data: TimeColumns) -> Rates:
    columns = next(iter(data.traps.values())).shape[-1]
    joined = next(step for step in range(max(columns // _RATES, 1), 0, -1) if columns % step == 0)
    seconds = data.columns.width_ns * joined / 1e9
    series = [
        (_KINDS[name], name, (counts[0].reshape(-1, joined).sum(axis=1) / seconds).round(3).tolist())
        for name, counts in data.traps.items()
        if counts.any()
    ]
    totals = ", ".join(f"{int(counts.sum()):,} {name}" for name, counts in data.traps.items() if counts.any())
    return Rates(
        "Traps a second, of all threads",
        f"{totals or 'no trap was seen to its end'}.",
        _span(trace, data),
        series,
    )


def _sleeps(trace: Trace, data: TimeColumns) -> Iterator[Histogram]:
    ended, completed = data.sleeps
    if not ended.sum() and not completed.sum():
        return
    penalty = folding.fold(trace).penalty
    jiffies = range(1, data.sleeps.shape[1] * data.part_ns // penalty.tick_ns + 1)
    marks = [(number * penalty.tick_ns, f"{number}") for number in jiffies]
    series = [
        ("early", "a signal ended it", ended.tolist()),
        ("completed", "slept to its end", completed.tolist()),
    ]
    yield Histogram(
        "How long the sleeps were, in jiffies",
        f"{int(ended.sum()):,} sleeps were ended by a signal, {int(completed.sum()):,} completed. "
        f"A completed sleep of this kernel lasts {wording.length(penalty.shortest_sleep_ns)} to "
        f"{wording.length(penalty.longest_sleep_ns)}; a jiffy is {wording.length(penalty.tick_ns)}.",
        data.part_ns,
        [each for each in series if any(each[2])],
        marks,
    )


def _windows(trace: Trace, data: TimeColumns) -> Iterator[Timeline]:
    for core, times in sorted(data.windows.items()):
        shares = np.minimum(times[0] / data.columns.width_ns, 1)
        total = wording.length(int(times.sum()))
        yield Timeline(
            f"Detection off on core {core}",
            f"Off for {total} in all: only then can the instruction execute on this core.",
            _span(trace, data),
            [Band("window", "detection off", shares.tolist())],
        )
