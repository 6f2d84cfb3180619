"""One simulated thread that takes split locks: its state, its next signal, its traps so far."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from sldtrace.model.machine import State
from sldtrace.model.sources import Kind, Noise, Source


class Column(IntEnum):
    """Columns of the traps that a thread has taken; times are ns."""

    START = 0
    END = 1
    SLEEP_BEGIN = 2  # 0: did not sleep
    SLEEP_END = 3
    LEFT = 4  # jiffies
    WAIT_BEGIN = 5  # 0: did not wait for the semaphore
    WAIT_END = 6
    DETECTION_OFF = 7  # 1: detection was switched off (or the task's flag set)
    KILLED = 8
    SIGNAL = 9  # when the signal that ended it was generated; 0: none did
    START_CPU = 10
    END_CPU = 11
    GUEST = 12  # time in guest mode since the last trap
    EXITS = 13  # VM exits since the last trap, this one's included


COLUMNS = len(Column)

Traps = npt.NDArray[np.int64]
"""One row a trap, the columns of `Column`."""

Times = npt.NDArray[np.int64]
"""Times in ns."""


@dataclass(frozen=True)
class Costs:
    """What the steps of a trap take, ns.

    entry_ns: from the call of KVM_RUN (or the return of the handler) to the guest's next instruction;
    trap_ns: from the instruction to the begin of the sleep; wake_ns: from a wake-up until the thread runs;
    outside_ns: from there to the next call of KVM_RUN, if a signal ended this one; spacing_ns: guest time
    from one split lock to the next where nothing holds the guest up.
    """

    entry_ns: int = 2_000
    trap_ns: int = 2_000
    wake_ns: int = 3_000
    outside_ns: int = 10_000
    spacing_ns: int = 1_000


class Thread:
    """The state of one thread; `simulator` changes it."""

    def __init__(
        self, index: int, cpu: int, source: Source, costs: Costs, seed: int, start_ns: int, jiffies: int
    ) -> None:
        self.index = index
        self.cpu = cpu
        self.source = source
        self.costs = costs
        self.state = State.OUT
        self.since_ns = start_ns  # when it came into the state
        self.due_ns = 0  # GUEST: when the next split lock comes; elsewhere: guest time until then
        self.back_ns = start_ns  # OUT: when it calls KVM_RUN
        self.signal_ns: int | None = None  # when the next signal comes, or came if it is pending
        self.granted_ns: int | None = None  # QUEUE: when it continues with the semaphore
        self.exempt = False  # TIF_SLD
        self.jiffies = jiffies  # that its next sleep takes
        self.early_returns = 0  # in a row
        self.executed = 0  # split locks that the guest has executed
        self.guest_ns = 0
        self.exits = 0
        self.version = 0  # an event that was planned for an older one is void
        self.noise = Noise(source.jitter_ns, seed)
        self._tick = start_ns
        self._at = [0] * COLUMNS
        self._rows: list[list[int]] = []
        self._blocks: list[Traps] = []
        self._taken: list[int] = []
        self._signals: list[Times] = []
        if source.kind is Kind.ONCE and not source.to_process:
            self.signal_ns = start_ns + source.period_ns
        elif source.kind is Kind.PERIODIC and not source.to_process:
            self._next_period(start_ns)

    def take_signal(self, now_ns: int) -> int:
        """Takes the pending signal; returns when it was generated."""
        assert self.signal_ns is not None
        taken, self.signal_ns = self.signal_ns, None
        self._taken.append(taken)
        if self.source.kind is Kind.PERIODIC and not self.source.to_process:
            self._next_period(now_ns)
        return taken

    def arm(self, now_ns: int) -> None:
        """Before the VMM calls KVM_RUN: takes a signal that is pending, arms the timer."""
        if self.signal_ns is not None and self.signal_ns <= now_ns:
            self.take_signal(now_ns)
        if self.source.kind is Kind.REARMED:
            self.signal_ns = now_ns + max(1, self.source.period_ns + self.noise.one())

    def _next_period(self, now_ns: int) -> None:
        # Expiries while the signal is pending are one signal (timer_getoverrun).
        period = self.source.period_ns
        self._tick += max(1, -(-(now_ns + 1 - self._tick) // period)) * period
        self.signal_ns = max(now_ns + 1, self._tick + self.noise.one())

    def signals_ahead(self, count: int, first_ns: int, turn_ns: int) -> Times:
        """Times of the next `count` signals if each is taken at once; the first one at `first_ns`.

        turn_ns: from a signal until the timer is armed again.
        """
        noise = self.noise.ahead(count - 1)
        if self.source.kind is Kind.PERIODIC:
            nominal = self._tick + self.source.period_ns * np.arange(1, count)
            return np.concatenate([[first_ns], nominal + noise])
        steps = turn_ns + np.maximum(1, self.source.period_ns + noise)
        return first_ns + np.concatenate([[0], np.cumsum(steps)])

    def in_turn(self, taken: Times) -> npt.NDArray[np.bool_]:
        """For signals taken at these times: is the next one a period later, without an overrun?"""
        if self.source.kind is not Kind.PERIODIC:
            return np.ones(len(taken), bool)
        nominal = self._tick + self.source.period_ns * np.arange(len(taken))
        late: npt.NDArray[np.bool_] = taken + 1 - nominal <= self.source.period_ns
        return late

    def skip_signals(self, taken: Times, next_ns: int) -> None:
        """Takes these signals at once; the next one comes at `next_ns`."""
        count = len(taken)
        self._collect_signals()
        self._signals.append(taken)
        self.noise.use(count)
        if self.source.kind is Kind.PERIODIC:
            self._tick += count * self.source.period_ns
        self.signal_ns = next_ns

    def begin(self, now_ns: int, guest_ns: int, exits: int) -> None:
        """Starts a trap."""
        self._at = [0] * COLUMNS
        self._at[Column.START] = now_ns
        self._at[Column.START_CPU] = self.cpu
        self._at[Column.GUEST] = guest_ns
        self._at[Column.EXITS] = exits

    def set(self, column: Column, value: int) -> None:
        """Sets a column of the trap in progress."""
        self._at[column] = value

    def get(self, column: Column) -> int:
        """A column of the trap in progress."""
        return self._at[column]

    def end(self, now_ns: int) -> None:
        """Ends the trap in progress."""
        self._at[Column.END] = now_ns
        self._at[Column.END_CPU] = self.cpu
        self._rows.append(self._at)

    def add(self, traps: Traps) -> None:
        """Adds completed traps, which are later than all before."""
        self._collect()
        self._blocks.append(traps)

    def drain_signals(self) -> Times:
        """Times at which the signals taken since the last call were generated."""
        self._collect_signals()
        blocks, self._signals = self._signals, []
        return np.concatenate(blocks) if blocks else np.zeros(0, np.int64)

    def drain(self) -> Traps:
        """The traps since the last call, in order of time."""
        self._collect()
        blocks, self._blocks = self._blocks, []
        return np.concatenate(blocks) if blocks else np.zeros((0, COLUMNS), np.int64)

    def _collect_signals(self) -> None:
        if self._taken:
            self._signals.append(np.array(self._taken, np.int64))
            self._taken = []

    def _collect(self) -> None:
        if self._rows:
            self._blocks.append(np.array(self._rows, np.int64))
            self._rows = []
