"""Computes a stretch of early returns at once; it depends on no other thread except by the core's MSR.

Each signal ends one sleep and the guest traps again, until a signal comes too late or the horizon is reached.
If the penalty of another thread switches detection off on the core, the stretch ends there.
"""

from dataclasses import dataclass

import numpy as np

from sldtrace.model.penalty import Penalty
from sldtrace.model.sources import Kind
from sldtrace.model.thread import COLUMNS, Column, Thread, Times, Traps

_LEAST = 4
_MOST = 1 << 16


@dataclass(frozen=True)
class Stretch:
    """The traps of a stretch. signals[k] ends trap k; back[k] is the next call of KVM_RUN. Equal lengths."""

    traps: Traps
    signals: Times
    back: Times

    @property
    def end_ns(self) -> int:
        """The last call of KVM_RUN."""
        return int(self.back[-1])


def ahead(thread: Thread, penalty: Penalty, now_ns: int, horizon_ns: int) -> Stretch | None:
    """The stretch from the thread's trap at `now_ns` until before `horizon_ns`; None if it is too short."""
    source, costs = thread.source, thread.costs
    if source.kind not in (Kind.PERIODIC, Kind.REARMED) or source.to_process or thread.signal_ns is None:
        return None
    if (
        horizon_ns - now_ns < _LEAST * source.period_ns
        or source.period_ns >= penalty.always_completes_above_ns
    ):
        return None
    turn = costs.wake_ns + costs.outside_ns
    count = min(_MOST, (horizon_ns - now_ns) // source.period_ns + 2)
    signals = thread.signals_ahead(count, thread.signal_ns, turn)
    exits = signals + costs.wake_ns
    back = exits + costs.outside_ns
    enters = np.concatenate([[now_ns], back[:-1] + costs.entry_ns])
    begins = enters + costs.trap_ns
    tick = penalty.tick_ns
    left = begins // tick + penalty.sleep_jiffies - exits // tick
    good = (left > 0) & (back < horizon_ns) & (signals >= begins)
    good[1:] &= thread.in_turn(exits[:-1])
    length = count if good.all() else int(np.argmin(good))
    if length < _LEAST:
        return None
    traps = np.zeros((length, COLUMNS), np.int64)
    traps[:, Column.START] = enters[:length]
    traps[:, Column.END] = exits[:length]
    traps[:, Column.SLEEP_BEGIN] = begins[:length]
    traps[:, Column.SLEEP_END] = exits[:length]
    traps[:, Column.LEFT] = left[:length]
    traps[:, Column.SIGNAL] = signals[:length]
    traps[:, Column.START_CPU] = traps[:, Column.END_CPU] = thread.cpu
    traps[0, Column.GUEST] = thread.get(Column.GUEST)
    traps[0, Column.EXITS] = thread.get(Column.EXITS)
    traps[1:, Column.GUEST] = costs.entry_ns
    traps[1:, Column.EXITS] = 1 + enters[1:length] // tick - back[: length - 1] // tick
    return Stretch(traps, signals[:length], back[:length])
