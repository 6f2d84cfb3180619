"""What the simulated host does with threads, cores, the semaphore and the delayed work."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.host.msr import DETECT
from sldtrace.model.machine import Fix
from sldtrace.model.penalty import WINDOW_JIFFIES
from sldtrace.model.simulator import Scene, Vcpu
from sldtrace.model.sources import Kind, Source
from sldtrace.model.thread import Column, Costs
from tests.model.scenes import MS, TICK, US, Played, S, kernel, play, timer


def early(played: Played, thread: int = 0) -> float:
    """Share of the traps that a signal ended."""
    return float((played.traps[thread][:, Column.SIGNAL] > 0).mean())


def one(source: Source, duration_ns: int = S, **more: Any) -> Played:
    """A single thread on the kernel of `more`."""
    costs = more.pop("costs", Costs())
    changed = {name: more.pop(name) for name in ("fix", "early_returns") if name in more}
    return play(Scene(kernel(**more), (Vcpu(source, costs),), **changed), duration_ns)


VCPUS = st.builds(
    lambda period, kind, jitter, cpu, moves: Vcpu(timer(period, kind, jitter), Costs(), cpu, moves),
    st.sampled_from([300 * US, MS, 2 * MS, 7 * MS, 8_500 * US, 9 * MS, 11 * MS, 14 * MS, 20 * MS]),
    st.sampled_from([Kind.REARMED, Kind.PERIODIC]),
    st.sampled_from([0, 3 * US, 200 * US]),
    st.integers(0, 3),
    st.sampled_from([0, 0, 7 * MS, 50 * MS]),
)
SCENES = st.builds(
    lambda release, hz, vcpus, cores, seed, start: Scene(
        kernel(release, tick_ns=round(1e9 / hz)), vcpus, cores, seed=seed, start_ns=start
    ),
    st.sampled_from(["6.1", "6.12", "6.16"]),
    st.sampled_from([100, 250, 300, 1000]),
    st.lists(VCPUS, min_size=1, max_size=3),
    st.sampled_from([(0, 1, 2, 3), (0, 0, 2, 2), (0, 0, 0, 0)]),
    st.integers(0, 1000),
    st.integers(0, S),
)


@settings(deadline=None, max_examples=40)
@given(SCENES)
def test_a_stretch_at_once_is_what_it_is_event_by_event(scene: Scene) -> None:
    whole, single = play(scene, S // 2), play(scene, S // 2, at_once=False, batch_ns=70 * MS)
    assert whole.detection == single.detection
    assert whole.migrations == single.migrations
    assert whole.executed == single.executed
    for ours, theirs in zip(whole.traps, single.traps, strict=True):
        # One that ends in the last moment may be in only one of them.
        assert abs(len(ours) - len(theirs)) <= 1
        assert np.array_equal(ours[: len(theirs)], theirs[: len(ours)])
    for taken, expected in zip(whole.signals, single.signals, strict=True):
        assert abs(len(taken) - len(expected)) <= 1
        assert np.array_equal(taken[: len(expected)], expected[: len(taken)])
    known = min(len(whole.runs), len(single.runs)) if len(scene.vcpus) == 1 else 0
    assert np.array_equal(whole.runs[:known], single.runs[:known])


@pytest.mark.parametrize(("release", "dead", "alive"), [("6.1", 12, 16), ("6.12", 8, 12), ("7.2", 8, 12)])
def test_the_threshold_is_in_jiffies(release: str, dead: int, alive: int) -> None:
    """Signals `dead` ms into the sleep always end it early, those `alive` ms into it never do."""
    into = Costs(entry_ns=1, trap_ns=0, wake_ns=1, outside_ns=1)
    assert one(timer(dead * MS - 10), release=release, costs=into).executed == [0]
    assert one(timer(dead * MS + 700 * US), 4 * S, release=release, costs=into).executed[0] > 0
    between = [
        early(one(timer(period, Kind.REARMED, 100 * US), 4 * S, release=release, costs=into))
        for period in (alive * MS + 500 * US, alive * MS - MS)
    ]
    assert between[1] > between[0]
    # Every other trap: the signal that was armed before the first one ends the second.
    completed = one(timer(alive * MS + MS), 4 * S, release=release, costs=into)
    first = completed.traps[0][:, Column.SLEEP_END] - completed.traps[0][:, Column.SLEEP_BEGIN]
    assert (first[completed.traps[0][:, Column.DETECTION_OFF] > 0] > dead * MS).all()


def test_a_thread_without_signals_sleeps_one_jiffy_more_at_most_and_runs_for_two_to_three() -> None:
    played = one(Source())
    traps = played.traps[0]
    slept = traps[:, Column.SLEEP_END] - traps[:, Column.SLEEP_BEGIN]
    assert (slept > 3 * TICK).all()
    assert (slept <= 4 * TICK + Costs().wake_ns).all()
    off = [ns for ns, value, *_ in played.detection if not value]
    on = [ns for ns, value, *_ in played.detection if value]
    for begin, end in zip(off, on, strict=False):
        assert WINDOW_JIFFIES * TICK < end - begin <= (WINDOW_JIFFIES + 1) * TICK + Costs().wake_ns
    assert {value for _, value, *_ in played.detection} == {0, DETECT}


def test_without_the_penalty_a_trap_is_free_and_detection_off_at_once() -> None:
    played = one(timer(MS), mitigate=0)
    traps = played.traps[0]
    assert (traps[:, Column.SLEEP_BEGIN] == 0).all()
    assert (traps[:, Column.DETECTION_OFF] == 1).all()
    assert (traps[:, Column.END] - traps[:, Column.START] == Costs().trap_ns).all()
    # The window is three ticks long when it begins behind an edge.
    assert len(traps) == pytest.approx(S / (3 * TICK), rel=0.02)


@pytest.mark.parametrize("mode", ["off", "ratelimit:5"])
def test_nothing_traps_where_detection_is_off(mode: str) -> None:
    played = one(timer(MS), mode=mode)
    assert len(played.traps[0]) == 0
    assert played.executed[0] == pytest.approx(S / US, rel=0.05)


def test_fatal_ends_it_at_the_first() -> None:
    played = one(timer(MS), mode="fatal")
    assert played.traps[0][:, Column.KILLED].tolist() == [1]
    assert played.executed == [0]


def test_before_5_19_a_task_traps_once() -> None:
    played = one(timer(MS), release="5.18")
    assert len(played.traps[0]) == 1
    assert played.executed[0] > 0.9 * S / US


def test_one_signal_ends_one_sleep() -> None:
    played = one(Source(Kind.ONCE, 5 * MS))
    assert played.traps[0][:, Column.SIGNAL].tolist()[0] == 5 * MS
    assert (played.traps[0][1:, Column.SIGNAL] == 0).all()
    assert played.executed[0] > 0


def test_a_penalty_that_ignores_signals_completes() -> None:
    ignores_signals, undisturbed = one(timer(MS), fix=Fix.UNINTERRUPTIBLE), one(Source())
    assert (ignores_signals.traps[0][:, Column.LEFT] == 0).all()
    assert len(ignores_signals.traps[0]) == pytest.approx(len(undisturbed.traps[0]), abs=1)
    # It is interrupted by its timer only where it runs.
    assert 0.8 < ignores_signals.executed[0] / undisturbed.executed[0] <= 1


@pytest.mark.parametrize("kind", [Kind.REARMED, Kind.PERIODIC])
@pytest.mark.parametrize("period_ns", [MS, 3 * MS, 7 * MS])
def test_partly_completed_penalties_add_up(period_ns: int, kind: Kind) -> None:
    """Each tick in a sleep takes one jiffy of what is left."""
    played = one(timer(period_ns, kind), 10 * S, fix=Fix.REMAINING)
    traps = played.traps[0]
    off = np.flatnonzero(traps[:, Column.DETECTION_OFF])
    assert len(off) > 10 * S // (20 * TICK)
    for begin, end in itertools.pairwise(off):
        chain = traps[begin + 1 : end + 1]
        slept = chain[:, Column.SLEEP_END] - chain[:, Column.SLEEP_BEGIN]
        left = chain[:, Column.LEFT]
        assert (np.diff(np.append(3, left)) <= 0).all()
        assert left[-1] == 0
        # Three ticks come in sleeps; one that comes between two sleeps does not count.
        assert 2 * TICK < slept.sum() < 6 * TICK


@pytest.mark.parametrize("count", [1, 3, 50])
def test_detection_is_off_after_so_many_early_returns(count: int) -> None:
    traps = one(timer(MS), fix=Fix.EARLY_RETURNS, early_returns=count).traps[0]
    off = np.flatnonzero(traps[:, Column.DETECTION_OFF])
    assert set(np.diff(off)) == {count + 1}
    assert (traps[off, Column.SLEEP_BEGIN] == 0).all()
    assert (traps[off, Column.WAIT_BEGIN] == 0).all()


def test_completed_penalties_are_no_early_returns() -> None:
    """Without signals it is the kernel's own penalty, trap by trap."""
    changed = one(Source(), fix=Fix.EARLY_RETURNS, early_returns=1).traps[0]
    assert changed.tolist() == one(Source()).traps[0].tolist()


def test_only_one_core_at_a_time_has_its_detection_off() -> None:
    played = play(Scene(kernel(), [Vcpu(cpu=cpu) for cpu in range(4)], (0, 1, 2, 3)), 2 * S)
    off = 0
    for _, value, _, _ in sorted(played.detection):
        off += -1 if value else 1
        assert 0 <= off <= 1
    waits = np.concatenate(
        [traps[:, Column.WAIT_END] - traps[:, Column.WAIT_BEGIN] for traps in played.traps]
    )
    assert np.median(waits) > 2 * TICK
    completed = [len(traps) for traps in played.traps]
    assert max(completed) - min(completed) <= 1, "the semaphore is first come, first completed"


def test_a_signal_ends_the_wait_for_the_semaphore() -> None:
    """kernel/locking/semaphore.c: -EINTR, but only for who has to wait."""
    vcpus = [Vcpu(timer(17 * MS, Kind.PERIODIC), cpu=cpu) for cpu in range(4)]
    played = play(Scene(kernel(), vcpus, (0, 1, 2, 3)), 4 * S)
    traps = np.concatenate(played.traps)
    waiting = (traps[:, Column.WAIT_BEGIN] > 0) & (traps[:, Column.SIGNAL] > 0)
    assert waiting.any()
    assert (traps[waiting, Column.LEFT] == 0).all()
    assert (traps[waiting, Column.DETECTION_OFF] == 0).all()


def test_siblings_share_the_msr() -> None:
    """A thread that a 1 ms timer keeps from windows of its own runs in those of its sibling."""
    vcpus = (Vcpu(timer(MS), cpu=0), Vcpu(cpu=1))
    assert play(Scene(kernel(), vcpus, (0, 1))).executed[0] == 0
    together = play(Scene(kernel(), vcpus, (0, 0)))
    assert together.executed[0] > 0
    assert together.executed[1] > 0
    assert (together.traps[0][:, Column.DETECTION_OFF] == 0).all()


@pytest.mark.parametrize(("release", "left_off"), [("6.12", True), ("6.15", False)])
def test_a_shared_work_item_leaves_detection_off(release: str, left_off: bool) -> None:
    """c929d08df8be: before it, of two CPUs that trap within two jiffies one never gets detection back."""
    played = play(Scene(kernel(release, mitigate=0), (Vcpu(cpu=0), Vcpu(cpu=1)), (0, 1)))
    counts = sorted(len(traps) for traps in played.traps)
    if left_off:
        assert counts[0] == 1
        assert counts[1] > 50
    else:
        assert counts[0] > 50


def test_a_thread_that_is_moved_out_of_its_window_traps_again() -> None:
    still = play(Scene(kernel(), (Vcpu(),), (0, 1)))
    moved = play(Scene(kernel(), (Vcpu(migrate_ns=2 * MS),), (0, 1)))
    assert moved.executed[0] < 0.5 * still.executed[0]
    assert len(moved.migrations) == pytest.approx(S / (2 * MS), rel=0.05)
    assert (moved.traps[0][:, Column.START_CPU] != moved.traps[0][:, Column.END_CPU]).any()
    for (_, _, _, to_cpu), (_, _, from_cpu, _) in itertools.pairwise(moved.migrations):
        assert to_cpu == from_cpu


def test_signals_to_the_process_go_round() -> None:
    source = timer(500 * US, Kind.PERIODIC, to_process=True)
    played = play(Scene(kernel(), [Vcpu(source, cpu=cpu) for cpu in range(2)], (0, 1)))
    counts = [int((traps[:, Column.SIGNAL] > 0).sum()) for traps in played.traps]
    assert counts[0] == pytest.approx(counts[1], rel=0.05)
    assert sum(counts) == pytest.approx(S / (500 * US), rel=0.05)
    assert played.executed == [0, 0]


def test_rare_split_locks_are_as_rare_as_the_guest_makes_them() -> None:
    rare = Vcpu(costs=Costs(spacing_ns=100 * MS))
    played = play(Scene(kernel(), (rare,)), 10 * S)
    apart = np.diff(played.traps[0][:, Column.START])
    assert len(apart) > 50
    assert np.median(apart) == pytest.approx(100 * MS + 3.5 * TICK, rel=0.05)


def test_guest_time_and_exits_add_up() -> None:
    played = one(timer(20 * MS), 4 * S)
    traps, runs = played.traps[0], played.runs
    until = int(traps[-1, Column.START])
    ended = runs[runs[:, 2] <= until]
    assert int(traps[:, Column.GUEST].sum()) == int((ended[:, 2] - ended[:, 1]).sum())
    ticks = ended[:, 2] // TICK - ended[:, 1] // TICK
    assert int(traps[:, Column.EXITS].sum()) == int((ticks + 1).sum())
