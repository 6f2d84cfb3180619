"""The rule of early-return loops on arrays: of a whole recording, or of one batch after the other.

split_lock_warn sleeps interruptibly and returns, with detection still on, when the sleep was cut short:
`if (msleep_interruptible(10) > 0) return;`, and so with the semaphore behind it (b041b525dab9). Such a trap
changes nothing, and the thread traps on the same instruction again. The instruction is executed only where
detection is off: after a trap of this thread that was completed, or in the two jiffies that another thread's
penalty gave to the same core. A chain is all early traps of one thread at one address with no such moment in
between; what else the guest runs meanwhile (interrupts, other tasks) does not help the instruction. A chain
is a loop when it has outlasted a whole penalty, that is, when a thread left alone would have got through.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.model.penalty import Penalty

SLEEP = "early-return-loop"
SEMAPHORE, PROGRAM = "semaphore-early-return", "user-space-split-lock"

_MIN_TRAPS = 3  # a signal may fall into two sleeps in a row by chance; it then has missed the next one
# So many penalties long without one getting through: no chance, but a pattern. More where it does get through
# now and then: between the two thresholds of a kernel, chance makes stretches of some length.
_LIVELOCK_PENALTIES = 8
_LIVELOCK_TRAPS = 8
_LIVELOCK_PENALTIES_BETWEEN_PROGRESS = 64

_NEVER = np.iinfo(np.int64).max

Times = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Column = Any
"""A numpy array or a pandas Series."""


def cut_short(sleep_left_ms: Column, semaphore_result: Column) -> Column:
    """Was the sleep, or the wait before it, ended by a signal? By trap; columns as in the trap record."""
    return (sleep_left_ms > 0) | (semaphore_result < 0)


def early(cut: Column, return_missed: Column, msr_watched: Column, warned: Column, off: Column) -> Column:
    """Did split_lock_warn return with detection still on? By trap; `off` is the flag msr_cleared."""
    return cut | (return_missed & msr_watched & warned & ~off)


@dataclass
class Windows:
    """What of earlier batches decides whether detection was off on a core between two traps.

    By core: when detection was switched off last, and the first proof since then that it was on again.
    """

    of_core: dict[int, tuple[int, int]] = field(default_factory=dict)

    def opened(
        self, core: Times, since: Times, enter: Times, write_core: Times, write_ns: Times, write_on: Bools
    ) -> Bools:
        """For each trap: was detection off on its core at some time from `since` to `enter`?

        core, since, enter: of the trap, its thread's return from the trap before, its entry. write_*: writes
        of MSR_TEST_CTRL. Batches must follow each other in time; within one any order will do.
        """
        found: Bools = np.zeros(len(enter), bool)
        for each in {*self.of_core, *np.unique(write_core).tolist()}:
            mine, here = write_core == each, core == each
            start, proof = self.of_core.get(each, (-1, _NEVER))
            starts = np.sort(write_ns[mine & ~write_on])
            # A trap proves that detection is on, also where the write that switched it on was not seen.
            proofs = np.sort(np.concatenate([write_ns[mine & write_on], enter[here]]))
            if start >= 0:
                starts = np.concatenate([[start], starts])
                proofs = np.sort(np.concatenate([[proof], proofs]))
            if not len(starts):
                continue
            first_proof = np.concatenate([proofs, [_NEVER]])[np.searchsorted(proofs, starts)]
            begun = np.searchsorted(starts, enter[here])
            # A window that began before this trap, and had not ended before the last one returned.
            found[here] = (begun > 0) & (first_proof[np.maximum(begun - 1, 0)] >= since[here])
            self.of_core[each] = int(starts[-1]), int(first_proof[-1])
        return found


def breaks(
    penalty: Penalty, same: Bools, early: Bools, watched: Bools, since: Times, enter: Times, opened: Bools
) -> Bools:
    """For each trap of a thread, in order: does it, or what was before it, end the chains so far?

    same: it has a predecessor in its thread; watched: MSR_TEST_CTRL was, for this and the one before;
    where it was not, less than a penalty may have passed since. since, enter, opened: see Windows.opened.
    """
    blind = ~watched & (enter - since >= penalty.longest_sleep_ns)
    # A trap that was let go, or of which nothing is known, ends what was before it.
    return ~same | opened | blind | ~early


def is_loop(count: Column, lasted_ns: Column, penalty: Penalty) -> Column:
    """Is a chain of so many traps, from the first entry to the last return, a loop?"""
    return (count >= _MIN_TRAPS) & (lasted_ns > penalty.longest_sleep_ns)


def is_livelock(loops: int, longest_ns: int, early_returns: int, penalty: Penalty) -> bool:
    """Do so many loops of one thread at one address, the longest of that length, mean a standstill?"""
    enough = _LIVELOCK_PENALTIES if loops == 1 else _LIVELOCK_PENALTIES_BETWEEN_PROGRESS
    return longest_ns >= enough * penalty.longest_sleep_ns and early_returns >= _LIVELOCK_TRAPS


def kind(guest: bool, early_returns: int, at_semaphore: int) -> str:
    """Of which kind is a finding with so many early returns in loops, so many of them from the semaphore?

    Most of them decide: where signals come in time to end the wait, some end the sleep as well.
    """
    if not guest:
        return PROGRAM
    return SEMAPHORE if 2 * at_semaphore > early_returns else SLEEP


def verdict(livelock: bool) -> tuple[str, str]:
    """Verdict and severity (in lower case) of a finding of this kind."""
    return ("livelock", "critical") if livelock else ("held up", "warning")
