"""What the measured split locks say: the cost, who charges it, and what the model predicts."""

from collections.abc import Sequence
from dataclasses import dataclass

from sldtrace.host.split_lock import SplitLock
from sldtrace.litmus import tick
from sldtrace.litmus.run import End, Outcome
from sldtrace.model import penalty
from sldtrace.model.penalty import Penalty
from sldtrace.strenum import StrEnum

PENALTY_NS = 5_000_000
"""A lock that takes longer has been penalized: the shortest penalty is 10 ms, at HZ=1000."""

_SURE = 3  # penalized split locks, and this many times as many as aligned locks that took as long


class Verdict(StrEnum):
    """Who charges what for a split lock."""

    NO_PENALTY = "no penalty"
    OWN_PENALTY = "penalty of this kernel"
    OUTSIDE_PENALTY = "penalty from outside"
    """Of the host of this virtual machine."""
    RATE_LIMIT = "rate limit"
    FATAL = "fatal"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Machine:
    """What the answer depends on besides the measurement.

    release: `uname -r`; guest: it is a VM; in_vm: the locks are executed in a VM on it.
    """

    release: str
    tick_ns: int
    split_lock: SplitLock
    guest: bool
    in_vm: bool = False

    @property
    def penalty(self) -> Penalty:
        """What this kernel does about a split lock of a program."""
        lock = self.split_lock
        return penalty.for_kernel(self.release, self.tick_ns, mode=lock.mode, mitigate=lock.mitigate)


@dataclass(frozen=True)
class Lengths:
    """How long locks took, in ns. count: how many."""

    count: int
    median_ns: int
    p90_ns: int
    longest_ns: int


@dataclass(frozen=True)
class Predicted:
    """What the model says of this kernel's penalty; lengths in ns, None: there is no penalty.

    window: how long detection is off after a penalty, at least and at most. livelock: under a signal each
    millisecond a split lock does not complete.
    """

    verdict: Verdict
    shortest_ns: int | None
    longest_ns: int | None
    window_ns: tuple[int, int] | None
    livelock: bool


@dataclass(frozen=True)
class Livelock:
    """The split lock under periodic signals.

    completed: within the limit; took_ns: how long it took, or until it was ended.
    """

    completed: bool
    took_ns: int


@dataclass(frozen=True)
class Result:
    """The answer of the test.

    split: of all split locks, penalized: of those that were penalized (None: none was); off_for_ns,
    on_again_ns: the longest time after a penalty at which a split lock was not penalized, and the shortest at
    which it was (None: not seen); charged_tick_ns: the jiffy of who charges (None: not known).
    """

    verdict: Verdict
    machine: Machine
    split: Lengths | None
    aligned: Lengths | None
    penalized: Lengths | None
    off_for_ns: int | None
    on_again_ns: int | None
    charged_tick_ns: int | None
    livelock: Livelock | None
    predicted: Predicted


def judge(machine: Machine, outcome: Outcome, under_signals: Outcome | None = None) -> Result:
    """The result of the plan, and of plan.LIVELOCK if it was run."""
    split = outcome.durations_ns(True)
    aligned = outcome.durations_ns(False)
    long = [each for each in split if each >= PENALTY_NS]
    ends = [
        lock.end_ns
        for lock in outcome.locks
        if lock.split and round(lock.ticks * outcome.tsc_ns) >= PENALTY_NS
    ]
    off_for, on_again = _window(outcome)
    return Result(
        verdict=_verdict(machine, outcome, len(long), sum(each >= PENALTY_NS for each in aligned)),
        machine=machine,
        split=_lengths(split),
        aligned=_lengths(aligned),
        penalized=_lengths(long),
        off_for_ns=off_for,
        on_again_ns=on_again,
        charged_tick_ns=tick.find(ends),
        livelock=_livelock(under_signals) if under_signals else None,
        predicted=predict(machine),
    )


def predict(machine: Machine) -> Predicted:
    """What this kernel itself does, by its version and settings (see docs/model.md).

    A VM gets #AC as a program does (handle_guest_split_lock). Its bus locks raise no #DB in the host, so
    it has no rate limit, and is not ended by `fatal` on a CPU that detects bus locks only.
    """
    lock, own = machine.split_lock, machine.penalty
    if lock.mode == "fatal" and (lock.detects_split_locks or not machine.in_vm):
        verdict = Verdict.FATAL
    elif lock.detects_bus_locks and lock.mode.startswith("ratelimit") and not machine.in_vm:
        verdict = Verdict.RATE_LIMIT
    elif lock.detects_split_locks and own.penalizes:
        verdict = Verdict.OUTSIDE_PENALTY if machine.in_vm else Verdict.OWN_PENALTY
    else:
        verdict = Verdict.NO_PENALTY
    if verdict not in (Verdict.OWN_PENALTY, Verdict.OUTSIDE_PENALTY):
        return Predicted(verdict, None, None, None, False)
    window = (own.window_ns, own.window_ns + own.tick_ns)
    livelock = own.always_early_below_ns >= 1_000_000
    return Predicted(verdict, own.shortest_sleep_ns, own.longest_sleep_ns, window, livelock)


def hosts(tick_ns: int) -> list[tuple[str, int, int]]:
    """The lengths of a penalty, in ns, on hosts with this jiffy: (versions of Linux, shortest, longest)."""
    found = [("6.12 and later", "6.12"), ("before 6.12", "6.11")]
    kernels = [(name, penalty.for_kernel(release, tick_ns)) for name, release in found]
    return [(name, one.shortest_sleep_ns, one.longest_sleep_ns) for name, one in kernels]


def _verdict(machine: Machine, outcome: Outcome, long: int, long_aligned: int) -> Verdict:
    predicted = predict(machine).verdict
    if outcome.end is End.KILLED:
        return Verdict.FATAL
    if outcome.end is End.STUCK:
        return Verdict.UNCLEAR
    executed = sum(lock.split for lock in outcome.locks)
    if not long and executed:
        return Verdict.NO_PENALTY
    # A rate limit of N delays one of N + 1 locks, for the rest of a second: once or twice in the test.
    least = 1 if predicted is Verdict.RATE_LIMIT else _SURE
    if long < min(least, max(executed, 1)) or long < _SURE * long_aligned:
        return Verdict.UNCLEAR
    if predicted in (Verdict.OWN_PENALTY, Verdict.RATE_LIMIT):
        return predicted
    return Verdict.OUTSIDE_PENALTY if machine.guest or machine.in_vm else Verdict.UNCLEAR


# Where a split lock that is penalized begins a time without detection.
def _window(outcome: Outcome) -> tuple[int | None, int | None]:
    since: int | None = None
    off_for: int | None = None
    on_again: int | None = None
    for lock in (each for each in outcome.locks if each.split):
        gap = None if since is None else lock.start_ns - since
        if round(lock.ticks * outcome.tsc_ns) >= PENALTY_NS:
            on_again = gap if gap is not None and (on_again is None or gap < on_again) else on_again
            since = lock.end_ns
        elif gap is not None and (off_for is None or gap > off_for):
            off_for = gap
    return off_for, on_again


def _lengths(durations: Sequence[int]) -> Lengths | None:
    if not durations:
        return None
    ordered = sorted(durations)
    middle, ninth = ordered[(len(ordered) - 1) // 2], ordered[-(-9 * len(ordered) // 10) - 1]
    return Lengths(len(ordered), middle, ninth, ordered[-1])


def _livelock(outcome: Outcome) -> Livelock | None:
    if outcome.end is End.STUCK:
        return Livelock(False, outcome.stuck_ns)
    split = outcome.durations_ns(True)
    return Livelock(True, split[-1]) if split else None
