"""What a recording tells about a thread that trapped: who signals it, how often, and what its steps cost."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from sldtrace.model.simulator import Vcpu
from sldtrace.model.sources import Kind, Source
from sldtrace.model.thread import Costs
from sldtrace.trace import Trace

_SIGMAS = 1.349  # quartiles of a normal distribution, in standard deviations apart
_DRIFT_GAPS = 32  # fewer tell nothing of a drift
_DRIFT = 1.5  # by which the errors of a clock grow that is set anew each time; of a regular one they do not
_PAIR_NS = 50_000_000  # traps further apart did not follow upon each other


@dataclass(frozen=True)
class Profile:
    """A recorded thread.

    tgid, tid, vcpu: who; span_ns: from its first trap to the last; traps, early, released: how many;
    punished: share of the span that it slept or waited; source: its signals, Kind.NONE where none was seen;
    seen: signals that the source was worked out from; costs: medians of what was recorded; cpu: where
    it trapped most; moves: traps on another CPU than the one before.
    """

    tgid: int
    tid: int
    vcpu: int | None
    guest: bool
    span_ns: int
    traps: int
    early: int
    released: int
    punished: float
    source: Source
    seen: int
    costs: Costs
    cpu: int
    moves: int

    @property
    def simulated(self) -> Vcpu:
        """The thread as the simulator takes it."""
        moves = self.span_ns // self.moves if self.moves > 1 else 0
        return Vcpu(self.source, self.costs, self.cpu, moves)


def of(trace: Trace) -> list[Profile]:
    """The threads that trapped, most traps first."""
    ordered = trace.traps.sort_values("enter_ns", kind="stable")
    found = [_profile(rows) for _, rows in ordered.groupby(["tgid", "tid"], sort=False)]
    return sorted(found, key=lambda each: each.traps, reverse=True)


def _profile(rows: pd.DataFrame) -> Profile:
    span = int(rows["exit_ns"].max() - rows["enter_ns"].min())
    known = rows["vcpu"].dropna()
    asleep = int(rows["sleep_ns"].sum() + rows["semaphore_ns"].sum())
    # Pairs: a trap that a signal ended, and the next one of the same instruction right behind it.
    enter, leave = rows["enter_ns"].to_numpy(), rows["exit_ns"].to_numpy()
    early, rip = rows["early"].to_numpy(), rows["rip"].to_numpy()
    after = np.zeros(len(rows), bool)
    after[1:] = early[:-1] & (rip[1:] == rip[:-1]) & (enter[1:] - leave[:-1] < _PAIR_NS)
    cpus = rows["enter_cpu"].to_numpy()
    source, seen = _source(rows, after)
    return Profile(
        tgid=int(rows["tgid"].iloc[0]),
        tid=int(rows["tid"].iloc[0]),
        vcpu=int(known.iloc[0]) if len(known) else None,
        guest=bool(rows["guest"].any()),
        span_ns=span,
        traps=len(rows),
        early=int(early.sum()),
        released=int(rows["released"].sum()),
        punished=asleep / span if span else 0.0,
        source=source,
        seen=seen,
        costs=_costs(rows, after),
        cpu=int(np.bincount(cpus).argmax()),
        moves=int((cpus[1:] != cpus[:-1]).sum()),
    )


def _source(rows: pd.DataFrame, after: npt.NDArray[np.bool_]) -> tuple[Source, int]:
    signalled = rows["signal"].to_numpy() > 0
    if not signalled.any():
        # Something cut them short all the same.
        gaps = np.diff(rows["enter_ns"].to_numpy())[after[1:]]
        return (
            (Source(Kind.PERIODIC, int(np.median(gaps)), 0, False, 0, 0), 0) if len(gaps) else (Source(), 0)
        )
    kinds = rows.loc[signalled, ["signal", "signal_code", "signal_group"]].astype("int64")
    signo, code, group = (int(value) for value in kinds.value_counts().index.to_frame().iloc[0])
    mine = signalled & (rows["signal"] == signo).to_numpy() & (rows["signal_code"] == code).to_numpy()
    times = rows["signal_ns"].to_numpy()
    adjacent = after[1:] & mine[1:] & mine[:-1]
    gaps = np.diff(times)[adjacent]
    if not len(gaps):
        # Between penalties that were served signals come that no trap tells of: the shortest gap is nearest.
        gaps = np.diff(times[mine])
        if not len(gaps):
            return Source(signo=signo, code=code), 1
        return Source(Kind.REARMED, int(gaps.min()), 0, False, signo, code), len(gaps)
    period = int(np.median(gaps))
    low, high = np.quantile(gaps, [0.25, 0.75])
    jitter = int((high - low) / _SIGMAS)
    kind = Kind.PERIODIC if group or _is_regular(times, mine, adjacent, period) else Kind.REARMED
    if kind is Kind.REARMED:
        period = max(1, period - _turn(rows, after))
    return Source(kind, period, jitter, bool(group), signo, code), len(gaps)


# Does the time of a signal depend on when the one before it came? A timer that is armed anew drifts.
def _is_regular(
    times: npt.NDArray[np.int64], mine: npt.NDArray[np.bool_], adjacent: npt.NDArray[np.bool_], period: int
) -> bool:
    edges = np.flatnonzero(~adjacent)
    starts, ends = np.concatenate([[0], edges + 1]), np.concatenate([edges, [len(adjacent)]])
    longest = int(np.argmax(ends - starts))
    first, last = int(starts[longest]), int(ends[longest])
    if last - first < _DRIFT_GAPS:
        return False
    run = times[first : last + 1].astype(np.float64)
    number = np.arange(len(run))
    slope, offset = np.polyfit(number, run - run[0], 1)
    errors = run - run[0] - (slope * number + offset)
    spread = float(np.std(np.diff(run)))
    return float(np.std(errors)) < _DRIFT * max(spread, 1.0)


# From a signal until the thread is back in KVM_RUN, as far as the traps show it.
def _turn(rows: pd.DataFrame, after: npt.NDArray[np.bool_]) -> int:
    costs = _costs(rows, after)
    return costs.wake_ns + costs.outside_ns


def _costs(rows: pd.DataFrame, after: npt.NDArray[np.bool_]) -> Costs:
    default = Costs()
    before = np.concatenate([after[1:], [False]])
    watched = after & rows["exits_watched"].to_numpy() & (rows["exits"] == 1).to_numpy()
    enter, leave = rows["enter_ns"].to_numpy(), rows["exit_ns"].to_numpy()
    signalled = before & (rows["signal_ns"] > 0).to_numpy()
    inside = (leave - enter - rows["sleep_ns"].to_numpy() - rows["semaphore_ns"].to_numpy())[
        rows["slept"].to_numpy()
    ]
    entry = _median(rows["guest_ns"].to_numpy()[watched], default.entry_ns)
    wake = _median((leave - rows["signal_ns"].to_numpy())[signalled], default.wake_ns)
    gap = _median((enter[1:] - leave[:-1])[after[1:]], default.outside_ns + default.entry_ns)
    return Costs(
        entry_ns=max(entry, 1),
        trap_ns=max(_median(inside, default.trap_ns), 0),
        wake_ns=max(wake, 1),
        outside_ns=max(gap - entry, 1),
        spacing_ns=_spacing(rows),
    )


# Guest time between two split locks: what it ran beyond the two or three jiffies in which none traps.
def _spacing(rows: pd.DataFrame) -> int:
    released = rows["released"].to_numpy()[:-1] & rows["exits_watched"].to_numpy()[1:]
    if not released.any():
        return Costs().spacing_ns
    enter, leave = rows["enter_ns"].to_numpy(), rows["exit_ns"].to_numpy()
    gap = (enter[1:] - leave[:-1])[released]
    ran = rows["guest_ns"].to_numpy()[1:][released]
    window = 3 * 10_000_000  # longer than the window at any HZ
    return max(Costs().spacing_ns, int(np.median(np.where(gap > window, ran, 0))))


def _median(values: npt.NDArray[np.int64], otherwise: int) -> int:
    return int(np.median(values)) if len(values) else otherwise
