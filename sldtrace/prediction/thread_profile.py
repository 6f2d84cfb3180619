"""A recorded thread that trapped: its signals, how often they come, and how long its steps take."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.dataset import folding
from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.engine.fold import Fold
from sldtrace.engine.slices import slices
from sldtrace.engine.thread_samples import ThreadSamples
from sldtrace.model.simulator import Vcpu
from sldtrace.model.sources import Source
from sldtrace.model.thread import Costs
from sldtrace.prediction import signal_source

_PAIR_NS = 50_000_000  # traps further apart do not follow each other


@dataclass(frozen=True)
class Profile:
    """A recorded thread."""

    tgid: int
    tid: int
    vcpu: int | None  # None: not known, or no vCPU
    guest: bool
    span_ns: int  # from its first trap to the end of its last
    traps: int
    early_returns: int
    detection_off: int  # traps after which detection was off
    penalty_share: float  # time slept or waited, of span_ns
    source: Source  # of its signals; Kind.NONE: none was seen
    signals_used: int  # to estimate the source
    costs: Costs  # medians of what was recorded
    cpu: int  # where it trapped most
    moves: int  # traps on another CPU than the one before

    @property
    def simulated(self) -> Vcpu:
        """The thread as the simulator takes it."""
        moves = self.span_ns // self.moves if self.moves > 1 else 0
        return Vcpu(self.source, self.costs, self.cpu, moves)


MOST_THREADS = 256
"""Threads that are profiled; those with the most traps."""


@per_trace
def profile_threads(trace: Trace) -> list[Profile]:
    """The threads that trapped, most traps first, and no more than MOST_THREADS of them.

    Signals and costs are those of their first traps (engine.thread_samples), all numbers those of all.
    """
    folded = folding.fold(trace)
    sums = folded.threads.sums
    order = np.lexsort((sums["start_ns"], -sums["traps"]))[:MOST_THREADS]
    threads = list(zip(folded.numbers.tgid[order].tolist(), folded.numbers.tid[order].tolist(), strict=True))
    samples = ThreadSamples(threads)
    again = Fold([samples])
    again.run(slices(trace.recording, again.kinds))
    found = []
    for row, each in enumerate(sums[order]):
        traps, sent = trace.rows_of("trap", samples.traps[row]), trace.rows_of("signal", samples.sent[row])
        span = int(each["end_ns"] - each["start_ns"])
        found.append(
            replace(
                profile(traps, sent),
                span_ns=span,
                traps=int(each["traps"]),
                early_returns=int(each["early_returns"]),
                detection_off=samples.detection_off[row],
                penalty_share=int(each["slept_ns"] + each["waited_ns"]) / span if span else 0.0,
                moves=samples.moves[row],
            )
        )
    return found


def profile(rows: Rows, sent: Rows) -> Profile:
    """The profile of one thread by these of its traps, in order of time and at least one.

    sent: signals to it and to its process in this time.
    """
    span = int(rows["end_ns"].max() - rows["start_ns"].min())
    asleep = int(rows["sleep_ns"].sum() + rows["semaphore_ns"].sum())
    after = _after(rows)
    cpus = rows.raw("start_cpu")
    costs = _costs(rows, after)
    source, used = signal_source.estimate(rows, after, sent, costs.wake_ns + costs.outside_ns)
    return Profile(
        tgid=int(rows["tgid"].iloc[0]),
        tid=int(rows["tid"].iloc[0]),
        vcpu=rows.last_known("vcpu"),
        guest=bool(rows["guest"].any()),
        span_ns=span,
        traps=len(rows),
        early_returns=int(rows["early_return"].sum()),
        detection_off=int(rows["detection_off"].sum()),
        penalty_share=asleep / span if span else 0.0,
        source=source,
        signals_used=used,
        costs=costs,
        cpu=_most_frequent(cpus),
        moves=int((cpus[1:] != cpus[:-1]).sum()),
    )


# Of several the smallest.
def _most_frequent(cpus: npt.NDArray[Any]) -> int:
    distinct, counts = np.unique(cpus, return_counts=True)
    return int(distinct[counts.argmax()])


# The next trap of the same instruction after one that a signal ended.
def _after(rows: Rows) -> npt.NDArray[np.bool_]:
    early, rip = rows["early_return"].to_numpy(), rows.raw("rip")
    after = np.zeros(len(rows), bool)
    after[1:] = early[:-1] & (rip[1:] == rip[:-1]) & (_gaps(rows) < _PAIR_NS)
    return after


# From each return to the next entry.
def _gaps(rows: Rows) -> npt.NDArray[np.int64]:
    gaps: npt.NDArray[np.int64] = rows["start_ns"].to_numpy()[1:] - rows["end_ns"].to_numpy()[:-1]
    return gaps


# A column at a time: a thread may have millions of traps.
def _costs(rows: Rows, after: npt.NDArray[np.bool_]) -> Costs:
    default = Costs()
    before = np.append(after[1:], False)
    alone = rows[after & rows["exits_watched"] & (rows["exits"] == 1)]
    entry = _median(alone["guest_ns"].to_numpy(), default.entry_ns)
    signalled = rows[before & (rows["signal_ns"] > 0)]
    wake = _median((signalled["end_ns"] - signalled["signal_ns"]).to_numpy(), default.wake_ns)
    slept = rows[rows["slept"]]
    inside = slept["end_ns"].to_numpy() - slept["start_ns"].to_numpy()
    for name in ("sleep_ns", "semaphore_ns"):
        inside -= slept[name].to_numpy()
    gap = _median(_gaps(rows)[after[1:]], default.outside_ns + default.entry_ns)
    return Costs(
        entry_ns=max(entry, 1),
        trap_ns=max(_median(inside, default.trap_ns), 0),
        wake_ns=max(wake, 1),
        outside_ns=max(gap - entry, 1),
        spacing_ns=_spacing(rows),
    )


# Guest time between two split locks: what it ran beyond the two or three jiffies in which none traps.
def _spacing(rows: Rows) -> int:
    detection_off = rows["detection_off"].to_numpy()[:-1] & rows["exits_watched"].to_numpy()[1:]
    if not detection_off.any():
        return Costs().spacing_ns
    enter, leave = rows["start_ns"].to_numpy(), rows["end_ns"].to_numpy()
    gap = (enter[1:] - leave[:-1])[detection_off]
    ran = rows["guest_ns"].to_numpy()[1:][detection_off]
    window = 3 * 10_000_000  # longer than the window at any HZ
    return max(Costs().spacing_ns, int(np.median(np.where(gap > window, ran, 0))))


def _median(values: npt.NDArray[np.int64], otherwise: int) -> int:
    return int(np.median(values)) if len(values) else otherwise
