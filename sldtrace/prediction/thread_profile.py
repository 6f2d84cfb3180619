"""A recorded thread that trapped: its signals, how often they come, and how long its steps take."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sldtrace.dataset import folding
from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.trace import Trace
from sldtrace.engine.fold import Fold
from sldtrace.engine.slices import in_order, slices
from sldtrace.engine.tables import Array
from sldtrace.engine.thread_samples import ThreadSamples
from sldtrace.engine.traps import TrapColumns
from sldtrace.model.early_returns import Bools, Times
from sldtrace.model.sources import Source
from sldtrace.model.thread import Costs
from sldtrace.prediction import signal_source
from sldtrace.recording import schema
from sldtrace.recording.layout import Records

if TYPE_CHECKING:
    from sldtrace.model.simulator import Vcpu

_NO_VCPU = schema.current().records["trap"].field("vcpu").not_known
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
    def simulated(self) -> "Vcpu":
        """The thread as the simulator takes it."""
        from sldtrace.model.simulator import Vcpu

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
        traps = TrapColumns(in_order("trap", samples.traps[row]))
        sent = in_order("signal", samples.sent[row])
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


def profile(traps: TrapColumns, sent: Records) -> Profile:
    """The profile of one thread by these of its traps, in order of time and at least one.

    sent: signals to it and to its process in this time, likewise.
    """
    enter, leave, cpus = traps["start_ns"], traps["end_ns"], traps["start_cpu"]
    span = int(leave.max() - enter.min())
    asleep = int(traps["sleep_ns"].sum() + traps["semaphore_ns"].sum())
    vcpus = traps["vcpu"][traps["vcpu"] != _NO_VCPU]
    after = _after(traps)
    costs = _costs(traps, after)
    source, used = signal_source.estimate(traps, after, sent, costs.wake_ns + costs.outside_ns)
    return Profile(
        tgid=int(traps["tgid"][0]),
        tid=int(traps["tid"][0]),
        vcpu=int(vcpus[-1]) if len(vcpus) else None,
        guest=bool(traps.flag("GUEST").any()),
        span_ns=span,
        traps=len(traps),
        early_returns=int(np.count_nonzero(traps.early)),
        detection_off=int(np.count_nonzero(traps.detection_off)),
        penalty_share=asleep / span if span else 0.0,
        source=source,
        signals_used=used,
        costs=costs,
        cpu=_most_frequent(cpus),
        moves=int(np.count_nonzero(cpus[1:] != cpus[:-1])),
    )


# Of several the smallest.
def _most_frequent(cpus: Array) -> int:
    distinct, counts = np.unique(cpus, return_counts=True)
    return int(distinct[counts.argmax()])


# The next trap of the same instruction after one that a signal ended.
def _after(traps: TrapColumns) -> Bools:
    early, rip = traps.early, traps["rip"]
    after = np.zeros(len(traps), bool)
    after[1:] = early[:-1] & (rip[1:] == rip[:-1]) & (_gaps(traps) < _PAIR_NS)
    return after


# From each return to the next entry.
def _gaps(traps: TrapColumns) -> Times:
    gaps: Times = traps["start_ns"][1:] - traps["end_ns"][:-1]
    return gaps


def _costs(traps: TrapColumns, after: Bools) -> Costs:
    default = Costs()
    alone = after & traps.flag("EXITS_WATCHED") & (traps["exits"] == 1)
    entry = _median(traps["guest_ns"][alone], default.entry_ns)
    signalled = np.append(after[1:], False) & (traps["signal_ns"] > 0)
    wake = _median((traps["end_ns"] - traps["signal_ns"])[signalled], default.wake_ns)
    inside = traps["end_ns"] - traps["start_ns"] - traps["sleep_ns"] - traps["semaphore_ns"]
    gap = _median(_gaps(traps)[after[1:]], default.outside_ns + default.entry_ns)
    return Costs(
        entry_ns=max(entry, 1),
        trap_ns=max(_median(inside[traps.flag("SLEPT")], default.trap_ns), 0),
        wake_ns=max(wake, 1),
        outside_ns=max(gap - entry, 1),
        spacing_ns=_spacing(traps),
    )


# Guest time between two split locks: what it ran beyond the two or three jiffies in which none traps.
def _spacing(traps: TrapColumns) -> int:
    detection_off = traps.detection_off[:-1] & traps.flag("EXITS_WATCHED")[1:]
    if not detection_off.any():
        return Costs().spacing_ns
    gap = _gaps(traps)[detection_off]
    ran = traps["guest_ns"][1:][detection_off]
    window = 3 * 10_000_000  # longer than the window at any HZ
    return max(Costs().spacing_ns, int(np.median(np.where(gap > window, ran, 0))))


def _median(values: Times, otherwise: int) -> int:
    return int(np.median(values)) if len(values) else otherwise
