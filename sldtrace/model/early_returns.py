"""The rule of early-return loops, on arrays: of a whole recording, or batch by batch.

split_lock_warn returns with detection still on if a signal ended its sleep, or its wait for the semaphore
(`if (msleep_interruptible(10) > 0) return;`, b041b525dab9). The thread then traps at the same instruction
again. The instruction can execute only while detection is off on its core: after a completed penalty of this
thread, or for two jiffies after one of another thread on the same core (one MSR for both hyperthreads). A
chain is a sequence of early returns of one thread at one address without detection off in between. Interrupts
and other tasks that the guest runs in between do not end it. A chain is a loop when it lasts longer than a
whole penalty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.model.penalty import Penalty
from sldtrace.recording import schema
from sldtrace.recording.layout import Records

SLEEP = "early-return-loop"
SEMAPHORE, PROGRAM = "semaphore-early-return", "user-space-split-lock"

# Thresholds; sldtrace.analyzers.thresholds has their meanings and reasons.
LOOP_TRAPS = 3
LOOP_PENALTIES = 1
LIVELOCK_PENALTIES = 8
LIVELOCK_TRAPS = 8
LIVELOCK_PENALTIES_WITH_PROGRESS = 64
SEMAPHORE_SHARE = 0.5

_NEVER = np.iinfo(np.int64).max

Times = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Column = Any
"""A numpy array or a pandas Series."""
Fields = Records | Mapping[str, npt.NDArray[Any]]
"""Trap records, or some of their fields by name."""


def signal_ended(traps: Fields) -> Bools:
    """For each trap record: did a signal end its sleep, or its wait for the semaphore?"""
    ended: Bools = (traps["sleep_left_ms"] > 0) | (traps["semaphore_result"] < 0)
    return ended


def returned_early(traps: Fields) -> Bools:
    """For each trap record: did split_lock_warn return with detection still on?

    Also true where the return from the sleep or the wait was missed, and the writes of MSR_TEST_CTRL, which
    were recorded, show that detection stayed on.
    """
    bits = schema.current().enums["trap_flags"].values
    missed, watched, warned, off = (
        traps["flags"] & np.uint32(bits[name]) != 0
        for name in ("RETURN_MISSED", "MSR_WATCHED", "WARNED", "MSR_CLEARED")
    )
    early: Bools = signal_ended(traps) | (missed & watched & warned & ~off)
    return early


def detection_off(traps: Fields) -> Bools:
    """For each trap record: was detection switched off, so that the instruction could be executed?

    Where the writes of MSR_TEST_CTRL were not watched, after a penalty that no signal ended.
    """
    bits = schema.current().enums["trap_flags"].values
    handled, missed, watched, off = (
        traps["flags"] & np.uint32(bits[name]) != 0
        for name in ("HANDLED", "RETURN_MISSED", "MSR_WATCHED", "MSR_CLEARED")
    )
    found: Bools = off | (handled & ~signal_ended(traps) & ~missed & ~watched)
    return found


def penalized(traps: Fields) -> Bools:
    """For each trap record: did the thread sleep, or wait for the semaphore, and was not killed?"""
    bits = schema.current().enums["trap_flags"].values
    slept, waited, handled = (
        traps["flags"] & np.uint32(bits[name]) != 0 for name in ("SLEPT", "SEMAPHORE", "HANDLED")
    )
    found: Bools = (slept | waited) & handled
    return found


@dataclass
class Windows:
    """When detection was off on a core, carried from batch to batch.

    of_core: by core, when detection was switched off last, and the first proof after that that it was on.
    """

    of_core: dict[int, tuple[int, int]] = field(default_factory=dict)

    def opened(
        self, core: Times, since: Times, enter: Times, write_core: Times, write_ns: Times, write_on: Bools
    ) -> Bools:
        """For each trap: was detection off on its core at any time from `since` to `enter`?

        core: of the trap; since: end of the thread's previous trap; enter: start of the trap. write_*: writes
        of MSR_TEST_CTRL. Batches are in order of time; within a batch any order is fine.
        """
        found: Bools = np.zeros(len(enter), bool)
        for each in {*self.of_core, *write_core.tolist()}:
            mine, here = write_core == each, core == each
            start, proof = self.of_core.get(each, (-1, _NEVER))
            starts = np.sort(write_ns[mine & ~write_on])
            # A trap proves that detection is on, even if the write that switched it on was not seen.
            proofs = np.sort(np.concatenate([write_ns[mine & write_on], enter[here]]))
            if start >= 0:
                starts = np.concatenate([[start], starts])
                proofs = np.sort(np.concatenate([[proof], proofs]))
            if not len(starts):
                continue
            first_proof = np.concatenate([proofs, [_NEVER]])[np.searchsorted(proofs, starts)]
            begun = np.searchsorted(starts, enter[here])
            # Detection was switched off before this trap, and not on again before the previous trap ended.
            found[here] = (begun > 0) & (first_proof[np.maximum(begun - 1, 0)] >= since[here])
            self.of_core[each] = int(starts[-1]), int(first_proof[-1])
        return found


def breaks(
    penalty: Penalty, same: Bools, early: Bools, watched: Bools, since: Times, enter: Times, opened: Bools
) -> Bools:
    """For each trap of a thread, in order: does a new chain start with it?

    same: it has a predecessor in its thread; watched: writes of MSR_TEST_CTRL were recorded for this trap and
    the one before. If not, a chain continues only within a penalty's time. since, enter, opened: see
    Windows.opened.
    """
    blind = ~watched & (enter - since >= penalty.longest_sleep_ns)
    # A trap that is no early return ends the chain before it.
    return ~same | opened | blind | ~early


def is_loop(count: Column, lasted_ns: Column, penalty: Penalty) -> Column:
    """Whether a chain is a loop. count: of its traps; lasted_ns: from the first start to the last end."""
    return (count >= LOOP_TRAPS) & (lasted_ns > LOOP_PENALTIES * penalty.longest_sleep_ns)


def is_livelock(loops: int, longest_ns: int, early_returns: int, penalty: Penalty) -> bool:
    """Whether loops of one thread at one address are a livelock. longest_ns: length of the longest loop."""
    enough = LIVELOCK_PENALTIES if loops == 1 else LIVELOCK_PENALTIES_WITH_PROGRESS
    return longest_ns >= enough * penalty.longest_sleep_ns and early_returns >= LIVELOCK_TRAPS


def kind(guest: bool, early_returns: int, at_semaphore: int) -> str:
    """The kind of a finding with this many early returns in loops, `at_semaphore` of them at the semaphore.

    The majority decides: signals that end the wait for the semaphore sometimes end the sleep, too.
    """
    if not guest:
        return PROGRAM
    return SEMAPHORE if at_semaphore > SEMAPHORE_SHARE * early_returns else SLEEP


def verdict(livelock: bool) -> tuple[str, str]:
    """Verdict and severity (in lower case) of a finding of this kind."""
    return ("livelock", "critical") if livelock else ("delayed", "warning")
