"""Who charges what, from made-up measurements on made-up machines."""

import pytest

from sldtrace.host.split_lock import SplitLock
from sldtrace.litmus import verdict
from sldtrace.litmus.run import End, Measured, Outcome
from sldtrace.litmus.verdict import Machine, Verdict, judge

WARN = SplitLock("warn", True, False, 1)
NONE = SplitLock("unsupported", False, False, None)
MS = 1_000_000


def machine(
    lock: SplitLock = WARN, guest: bool = False, tick_ns: int = 4 * MS, in_vm: bool = False
) -> Machine:
    return Machine("6.12.1", tick_ns, lock, guest, in_vm)


def outcome(split_ms: list[float], aligned_ms: float = 0.0003, end: End = End.FINISHED) -> Outcome:
    """Split locks of these lengths, each 20 ms after the one before, and an aligned lock before each."""
    locks, now = [], 0
    for each in split_ms:
        for length, split in ((aligned_ms, False), (each, True)):
            locks.append(Measured(now, now + round(length * MS), round(length * MS), split))
            now += round(length * MS)
        now += 20 * MS
    return Outcome(locks, end, 1.0)


@pytest.mark.parametrize(
    ("lock", "guest", "split_ms", "expected"),
    [
        (NONE, False, [0.002] * 50, Verdict.NO_PENALTY),
        (NONE, True, [0.002] * 50, Verdict.NO_PENALTY),
        (SplitLock("warn", True, False, 0), False, [0.02] * 50, Verdict.NO_PENALTY),
        (WARN, False, [14, 0.002, 15, 0.002, 12.5], Verdict.OWN_PENALTY),
        (NONE, True, [11.1] * 50, Verdict.OUTSIDE_PENALTY),
        (SplitLock("off", True, False, 1), True, [11.1] * 50, Verdict.OUTSIDE_PENALTY),
        (NONE, False, [11.1] * 50, Verdict.UNCLEAR),
        (NONE, True, [11.1] + [0.002] * 49, Verdict.UNCLEAR),
        (SplitLock("ratelimit:1", False, True, None), False, [0.002, 980, 20, 20], Verdict.RATE_LIMIT),
        (WARN, False, [14], Verdict.OWN_PENALTY),
        (WARN, False, [], Verdict.UNCLEAR),
    ],
)
def test_who_charges(lock: SplitLock, guest: bool, split_ms: list[float], expected: Verdict) -> None:
    assert judge(machine(lock, guest), outcome(split_ms)).verdict is expected


def test_a_machine_that_is_slow_for_aligned_locks_as_well_is_unclear() -> None:
    found = judge(machine(), outcome([14.0] * 10, aligned_ms=9))
    assert found.verdict is Verdict.UNCLEAR


def test_a_bus_error_is_fatal() -> None:
    assert judge(machine(), outcome([], end=End.KILLED)).verdict is Verdict.FATAL


def test_the_lengths_are_those_of_the_locks() -> None:
    found = judge(machine(), outcome([12, 13, 14, 0.002]))
    assert found.split
    assert (found.split.count, found.split.median_ns, found.split.longest_ns) == (4, 12 * MS, 14 * MS)
    assert found.penalized
    assert (found.penalized.count, found.penalized.median_ns) == (3, 13 * MS)
    assert found.aligned
    assert found.aligned.longest_ns == 300


def test_the_time_without_detection_lies_between_what_was_seen() -> None:
    def lock(start: float, length: float) -> Measured:
        return Measured(round(start * MS), round((start + length) * MS), round(length * MS), True)

    locks = [lock(0, 14), lock(18, 0.002), lock(25, 0.002), lock(30, 14), lock(57, 14)]
    found = judge(machine(), Outcome(locks, End.FINISHED, 1.0))
    assert (found.off_for_ns, found.on_again_ns) == (11 * MS, 13 * MS)


def test_what_the_model_predicts() -> None:
    own = verdict.predict(machine())
    assert (own.verdict, own.shortest_ns, own.longest_ns) == (Verdict.OWN_PENALTY, 12 * MS, 16 * MS)
    assert own.window_ns == (8 * MS, 12 * MS)
    assert own.livelock
    assert verdict.predict(machine(SplitLock("fatal", True, False, 1))).verdict is Verdict.FATAL
    off = verdict.predict(machine(SplitLock("off", True, False, 1)))
    assert (off.verdict, off.shortest_ns, off.livelock) == (Verdict.NO_PENALTY, None, False)


def test_hosts_with_a_jiffy_of_1_ms() -> None:
    (_, *new), (_, *old) = verdict.hosts(MS)
    assert (new, old) == ([10 * MS, 11 * MS], [11 * MS, 12 * MS])


@pytest.mark.parametrize("completed", [True, False])
def test_under_signals(completed: bool) -> None:
    signals = outcome([13]) if completed else Outcome([], End.STUCK, 0.0, 300 * MS)
    found = judge(machine(), outcome([14] * 5), signals).livelock
    assert found
    assert (found.completed, found.took_ns) == (completed, 13 * MS if completed else 300 * MS)


@pytest.mark.parametrize(
    ("lock", "split_ms", "predicted", "found"),
    [
        (WARN, 14, Verdict.OUTSIDE_PENALTY, Verdict.OUTSIDE_PENALTY),
        (WARN, 0.01, Verdict.OUTSIDE_PENALTY, Verdict.NO_PENALTY),
        (NONE, 11, Verdict.NO_PENALTY, Verdict.OUTSIDE_PENALTY),  # this host is a VM of one that charges
        (SplitLock("warn", True, False, 0), 0.01, Verdict.NO_PENALTY, Verdict.NO_PENALTY),
        (SplitLock("ratelimit:10", False, True, 1), 0.01, Verdict.NO_PENALTY, Verdict.NO_PENALTY),
        (SplitLock("fatal", False, True, 1), 0.01, Verdict.NO_PENALTY, Verdict.NO_PENALTY),
    ],
)
def test_what_a_vm_gets_is_charged_by_its_host(
    lock: SplitLock, split_ms: float, predicted: Verdict, found: Verdict
) -> None:
    said = judge(machine(lock, in_vm=True), outcome([split_ms] * 50))
    assert (said.predicted.verdict, said.verdict) == (predicted, found)


def test_in_fatal_mode_a_vm_that_takes_a_split_lock_ends() -> None:
    host = machine(SplitLock("fatal", True, True, 1), in_vm=True)
    assert verdict.predict(host).verdict is Verdict.FATAL


def test_a_rate_limit_delays_few_locks_for_long() -> None:
    """As in the lab with ratelimit:10: 2 of 21 waited for the rest of a second."""
    lock = SplitLock("ratelimit:10", False, True, 1)
    locks = [0.038] * 10 + [933.0] + [0.038] * 9 + [935.0]
    assert judge(machine(lock), outcome(locks)).verdict is Verdict.RATE_LIMIT
    assert judge(machine(NONE), outcome(locks)).verdict is Verdict.UNCLEAR
