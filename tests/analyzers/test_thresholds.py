"""Each threshold, on both sides: what is moved by a jiffy, or compared the wrong way round, fails here."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace.analyzers.finding import Confidence, Severity
from sldtrace.analyzers.findings import (
    bus_lock,
    detection_left_off,
    early_return_loop,
    fatal,
    guest_ac,
    lock_hold,
    migration_defeat,
    penalty_slowdown,
    semaphore_early_return,
    semaphore_queue,
    toggle_storm,
)
from tests.analyzers.synthetic import (
    FLAGS,
    GUEST,
    MS,
    SHORTEST,
    START_NS,
    TICK,
    VCPU,
    completed,
    counted,
    early,
    exited,
    facts,
    interrupted,
    loop,
    moved,
    not_penalized,
    trace,
    waited,
    window,
)

WINDOW = 2 * TICK

# Semaphore or sleep


@pytest.mark.parametrize(("waits", "kind"), [(50, early_return_loop.KIND), (51, semaphore_early_return.KIND)])
def test_most_early_returns_decide_where_the_loop_is(tmp_path: Path, waits: int, kind: str) -> None:
    rows = [*loop(100 - waits), *(interrupted((100 - waits + index) * MS) for index in range(waits))]
    recorded = trace(tmp_path, rows)
    found = [*early_return_loop.find(recorded), *semaphore_early_return.find(recorded)]
    assert [finding.kind for finding in found] == [kind]


# Migration


def defeated(gap_ns: int, count: int = 3, other_cpu: int = 1, **fields: Any) -> list[dict[str, Any]]:
    """Penalties completed on CPU 0 and 1 in turn, the next trap so long after each release."""
    rows, at = [], 0
    for index in range(count + 1):
        rows.append(completed(at, start_cpu=(0, other_cpu)[index % 2], **fields))
        at = rows[-1]["end_ns"] - START_NS + gap_ns
    return rows


@pytest.mark.parametrize(("gap_ns", "found"), [(WINDOW - 1, 1), (WINDOW, 0), (WINDOW + TICK, 0)])
def test_a_penalty_is_defeated_only_while_its_window_is_open(tmp_path: Path, gap_ns: int, found: int) -> None:
    assert len(migration_defeat.find(trace(tmp_path, defeated(gap_ns)))) == found


@pytest.mark.parametrize(("count", "found"), [(2, 0), (3, 1)])
def test_the_load_balancer_may_move_a_thread_twice(tmp_path: Path, count: int, found: int) -> None:
    assert len(migration_defeat.find(trace(tmp_path, defeated(MS, count)))) == found


@pytest.mark.parametrize(("at_home", "found"), [(3, 1), (4, 0)])
def test_half_of_the_penalties_must_be_defeated(tmp_path: Path, at_home: int, found: int) -> None:
    rows = defeated(MS, 3)
    last = rows[-1]["end_ns"] - START_NS
    rows += [completed(last + 100 * MS * (index + 1)) for index in range(at_home - 1)]
    assert len(migration_defeat.find(trace(tmp_path, rows))) == found


def test_siblings_share_the_register(tmp_path: Path) -> None:
    cores = facts(cpu={"cores": {"0": 0, "1": 0}})
    assert migration_defeat.find(trace(tmp_path, defeated(MS), opening=cores)) == []
    assert len(migration_defeat.find(trace(tmp_path, defeated(MS)))) == 1


def test_a_trap_elsewhere_in_the_guest_is_progress(tmp_path: Path) -> None:
    rows = [row | {"rip": index} for index, row in enumerate(defeated(MS, 5))]
    assert migration_defeat.find(trace(tmp_path, rows)) == []


def test_who_moved_it(tmp_path: Path) -> None:
    rows = defeated(MS, 5)
    moves = [
        moved((row["end_ns"] - START_NS) + MS // 2, index % 2, 1 - index % 2)
        for index, row in enumerate(rows)
    ]
    (finding,) = migration_defeat.find(trace(tmp_path, rows, more={"migrate": moves[:-1]}))
    assert finding.numbers.migrations == 5
    assert (finding.numbers.moved_by_tid, finding.numbers.moved_by_count) == (300, 5)
    assert finding.confidence is Confidence.CERTAIN
    (finding,) = migration_defeat.find(trace(tmp_path, rows))
    assert finding.confidence is Confidence.LIKELY


def test_the_core_is_the_one_whose_register_was_written(tmp_path: Path) -> None:
    """The thread may be moved between the write and the return."""
    rows = [row | {"end_cpu": 1 - row["start_cpu"]} for row in defeated(MS, 5)]
    writes = [{"ns": row["end_ns"] - 2_000, "value": 0, "cpu": row["start_cpu"], "tid": VCPU} for row in rows]
    assert len(migration_defeat.find(trace(tmp_path, rows, detection=writes))) == 1
    assert migration_defeat.find(trace(tmp_path, rows, detection=[])) == []


# Queue


def queued(wait_ns: int, count: int = 3, every_ns: int = 40 * MS, **fields: Any) -> list[dict[str, Any]]:
    rows = []
    for index in range(count):
        row = completed(index * every_ns, semaphore_ns=wait_ns, **fields)
        rows.append(row | {"end_ns": row["end_ns"] + wait_ns})
    return rows


@pytest.mark.parametrize(("wait_ns", "found"), [(TICK - 1, 0), (TICK, 1)])
def test_a_wait_of_a_jiffy_is_a_queue(tmp_path: Path, wait_ns: int, found: int) -> None:
    rows = queued(wait_ns) + queued(wait_ns, tid=301, tgid=300, start_cpu=1)
    assert len(semaphore_queue.find(trace(tmp_path, rows))) == found


@pytest.mark.parametrize(("count", "found"), [(2, 0), (3, 1)])
def test_two_penalties_may_meet_by_chance(tmp_path: Path, count: int, found: int) -> None:
    rows = queued(TICK, count) + queued(TICK, count, tid=301, start_cpu=1)
    assert len(semaphore_queue.find(trace(tmp_path, rows))) == found


@pytest.mark.parametrize(("every_ms", "found"), [(110, 1), (120, 0)])
def test_a_twentieth_of_the_time_is_noticed(tmp_path: Path, every_ms: int, found: int) -> None:
    """Of 3 waits of 4 ms: of 237 ms, or of 257 ms."""
    rows = queued(TICK, 3, every_ms * MS) + queued(TICK, 3, every_ms * MS, tid=301, start_cpu=1)
    assert len(semaphore_queue.find(trace(tmp_path, rows))) == found


def test_nobody_queues_behind_himself(tmp_path: Path) -> None:
    assert semaphore_queue.find(trace(tmp_path, queued(TICK, 20))) == []


def test_the_victims_and_the_bound(tmp_path: Path) -> None:
    rows = queued(TICK, 10) + queued(3 * TICK, 10, tid=301, tgid=300, start_cpu=1)
    (finding,) = semaphore_queue.find(trace(tmp_path, rows))
    assert [each.tid for each in finding.numbers.victims] == [301, VCPU]
    assert (finding.numbers.processes, finding.numbers.longest_ns) == (2, 3 * TICK)
    assert finding.numbers.most_per_s == 125  # HZ/2
    assert finding.subject is None


# Slowdown


@pytest.mark.parametrize(
    ("penalties", "lost_ns", "span_ns", "slowed"),
    [(3, 5, 100, True), (2, 50, 100, False), (3, 4, 100, False), (3, 5, 101, False)],
)
def test_a_twentieth_of_its_time_slows_a_thread(
    penalties: int, lost_ns: int, span_ns: int, slowed: bool
) -> None:
    assert penalty_slowdown.is_slowed(penalties, lost_ns, span_ns) == slowed


@pytest.mark.parametrize(("every_ms", "found"), [(250, 1), (350, 0)])
def test_three_penalties_have_two_times_in_between(tmp_path: Path, every_ms: int, found: int) -> None:
    """13 ms each; all three of them are more than a twentieth of the time at 350 ms, too."""
    rows = [completed(n * every_ms * MS) for n in range(3)]
    assert len(penalty_slowdown.find(trace(tmp_path, rows))) == found


@pytest.mark.parametrize(("every_ms", "severity"), [(64, Severity.WARNING), (68, Severity.NOTICE)])
def test_a_fifth_of_its_time_is_a_warning(tmp_path: Path, every_ms: int, severity: Severity) -> None:
    (finding,) = penalty_slowdown.find(trace(tmp_path, [completed(n * every_ms * MS) for n in range(100)]))
    assert finding.severity is severity


def test_who_is_in_a_loop_or_unpunished_is_not_called_slowed(tmp_path: Path) -> None:
    assert (
        penalty_slowdown.find(trace(tmp_path, [*loop(100), completed(110 * MS), *loop(100, 140 * MS)])) == []
    )
    assert penalty_slowdown.find(trace(tmp_path, [not_penalized(n * 9 * MS) for n in range(100)])) == []


# Locks


@pytest.mark.parametrize(("length_ns", "found"), [(TICK - 1, 0), (TICK, 1)])
def test_a_wait_of_less_than_a_jiffy_is_no_penaltys(tmp_path: Path, length_ns: int, found: int) -> None:
    rows = [completed(0)]
    assert len(lock_hold.find(trace(tmp_path, rows, more={"stall": [waited(MS, length_ns)]}))) == found


@pytest.mark.parametrize(
    ("length_ns", "severity"), [(SHORTEST - 1, Severity.NOTICE), (SHORTEST, Severity.WARNING)]
)
def test_a_wait_of_a_whole_penalty_is_a_warning(tmp_path: Path, length_ns: int, severity: Severity) -> None:
    (finding,) = lock_hold.find(trace(tmp_path, [completed(0)], more={"stall": [waited(0, length_ns)]}))
    assert finding.severity is severity


@pytest.mark.parametrize(
    ("begin_ns", "meanwhile_ns", "sure"),
    [
        (0, 10 * MS, True),
        (8 * MS + 20_000, 5 * MS, True),
        (8 * MS + 20_001, 5 * MS - 1, False),
        (40 * MS, 0, False),
    ],
)
def test_how_much_of_the_wait_was_a_penalty(
    tmp_path: Path, begin_ns: int, meanwhile_ns: int, sure: bool
) -> None:
    """The penalty lasts from 0 to 13.02 ms, the wait 10 ms."""
    rows = [completed(0), completed(100 * MS)]
    (finding,) = lock_hold.find(trace(tmp_path, rows, more={"stall": [waited(begin_ns, 10 * MS)]}))
    assert finding.numbers.penalized_ns == meanwhile_ns
    assert (finding.confidence is Confidence.CERTAIN) == sure


def test_each_lock_is_a_finding_and_callers_are_named(tmp_path: Path) -> None:
    stalls = [
        waited(0, 10 * MS),
        waited(100 * MS, 12 * MS, "MUTEX", tid=301),
        waited(50 * MS, 10 * MS, tid=302),
    ]
    opening = facts(kvm={"functions": {str(0x1B3A): "kvm_swap_active_memslots"}})
    found = lock_hold.find(trace(tmp_path, [completed(0)], opening=opening, more={"stall": stalls}))
    assert [(each.numbers.lock, each.numbers.waits, each.numbers.threads) for each in found] == [
        ("srcu", 2, 2),
        ("mutex", 1, 1),
    ]
    assert found[0].numbers.callers == (lock_hold.Caller("kvm_swap_active_memslots", 2),)


def test_waits_while_nobody_was_punished_are_what_is_usual(tmp_path: Path) -> None:
    """Of the same VM, for the same kind of lock; they make no finding by themselves.

    Nor do those during a trap (0 to 13.02 ms) count: of several vCPUs the probe knows one that is punished.
    """
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    usual = [waited(ms * MS, ms * MS, penalized_tid=0) for ms in (20, 40)]
    usual += [waited(ms * MS, 2 * MS, penalized_tid=0) for ms in (-1, 6, 13)]
    others = [waited(0, 50 * MS, penalized_tid=0, tgid=7), waited(0, 60 * MS, "MUTEX", penalized_tid=0)]
    assert lock_hold.find(trace(tmp_path / "a", [completed(0)], more={"stall": [*usual, *others]})) == []
    stalls = [*usual, *others, waited(0, 10 * MS)]
    (finding,) = lock_hold.find(trace(tmp_path / "b", [completed(0)], more={"stall": stalls}))
    assert finding.numbers.waits == 1
    (otherwise,) = [fact for fact in finding.facts if fact.label == "otherwise"]
    assert otherwise.text == "2 waits while nobody was punished, at most 40 ms"


# Detection

LATE = 50 * TICK


@pytest.mark.parametrize(("length_ns", "found"), [(LATE, 0), (LATE + 1, 1)])
def test_detection_that_is_left_off(tmp_path: Path, length_ns: int, found: int) -> None:
    writes = window(MS, MS + length_ns)
    assert len(detection_left_off.find(trace(tmp_path, [completed(5_000 * MS)], detection=writes))) == found


def test_another_penalty_meanwhile_begins_it_anew(tmp_path: Path) -> None:
    writes = [*window(0), *window(40 * TICK), *window(80 * TICK, 110 * TICK)]
    assert detection_left_off.find(trace(tmp_path, detection=writes)) == []


def test_a_trap_shows_that_detection_is_on(tmp_path: Path) -> None:
    writes = window(0)
    assert len(detection_left_off.find(trace(tmp_path, detection=writes))) == 1
    assert detection_left_off.find(trace(tmp_path, [early(10 * TICK)], detection=writes)) == []
    assert (
        len(detection_left_off.find(trace(tmp_path, [early(10 * TICK, start_cpu=1)], detection=writes))) == 1
    )


@pytest.mark.parametrize(("begin_ns", "shared"), [(MS, True), (2 * TICK, True), (2 * TICK + 1, False)])
def test_who_trapped_while_anothers_work_was_pending_got_none(
    tmp_path: Path, begin_ns: int, shared: bool
) -> None:
    """With one work item for all CPUs; a window that began later has another cause."""
    writes = sorted([*window(0, 2 * TICK), *window(begin_ns, cpu=1)], key=lambda write: write["ns"])
    opening = facts(split_lock={"mitigate": 0})
    (finding,) = detection_left_off.find(trace(tmp_path, detection=writes, opening=opening))
    assert ("one work item" in finding.cause) == shared
    assert ("real-time" in finding.cause) == (not shared)


@pytest.mark.parametrize(("off_ns", "found"), [(TICK - 1, 1), (TICK, 0), (2 * TICK, 0)])
def test_detection_that_is_back_too_soon(tmp_path: Path, off_ns: int, found: int) -> None:
    writes = [write for index in range(10) for write in window(index * 50 * MS, index * 50 * MS + off_ns)]
    assert len(toggle_storm.find(trace(tmp_path, detection=writes))) == found


@pytest.mark.parametrize(("short", "whole", "found"), [(2, 0, 0), (3, 0, 1), (3, 3, 1), (3, 4, 0)])
def test_a_storm_is_most_of_three_or_more(tmp_path: Path, short: int, whole: int, found: int) -> None:
    lengths = [MS] * short + [2 * TICK] * whole
    writes = [each for n, ns in enumerate(lengths) for each in window(n * 50 * MS, n * 50 * MS + ns)]
    assert len(toggle_storm.find(trace(tmp_path, detection=writes))) == found


# Single events


def test_one_fatal_trap_is_enough(tmp_path: Path) -> None:
    killed = not_penalized(0, flags=GUEST | FLAGS["MSR_WATCHED"])
    (finding,) = fatal.find(trace(tmp_path, [killed], opening=facts(split_lock={"mode": "fatal"})))
    assert (finding.severity, finding.confidence) == (Severity.CRITICAL, Confidence.CERTAIN)
    (finding,) = fatal.find(trace(tmp_path, [killed]))
    assert finding.confidence is Confidence.LIKELY
    assert fatal.find(trace(tmp_path, [completed(0), early(100 * MS)])) == []


@pytest.mark.parametrize(
    ("reason", "isa", "found"), [(74, 1, 1), (75, 1, 0), (0xA5, 2, 1), (74, 2, 0), (0xA5, 1, 0)]
)
def test_bus_lock_exits_of_both_vendors(tmp_path: Path, reason: int, isa: int, found: int) -> None:
    counts = [counted(reason, 7, {12: 7}, isa=isa)]
    findings = bus_lock.find(trace(tmp_path, more={"counts": counts}))
    assert [finding.numbers.exits for finding in findings] == [7] * found


@pytest.mark.parametrize(("host_ms", "severity"), [(49, Severity.NOTICE), (50, Severity.WARNING)])
def test_time_for_bus_locks_is_a_warning_from_a_twentieth_on(
    tmp_path: Path, host_ms: int, severity: Severity
) -> None:
    counts = [counted(74, 10, {20: 10}, host_ns=host_ms * MS)]
    (finding,) = bus_lock.find(trace(tmp_path, more={"counts": counts}))
    assert finding.severity is severity


@pytest.mark.parametrize(("exits", "found"), [(12, 0), (13, 1)])
def test_exits_by_ac_that_no_trap_belongs_to(tmp_path: Path, exits: int, found: int) -> None:
    counts = [counted(0, exits, {12: exits}, vector=17)]
    findings = guest_ac.find(trace(tmp_path, loop(10), more={"counts": counts}))
    assert [finding.numbers.own for finding in findings] == [3] * found


@pytest.mark.parametrize(("exits", "found"), [(109, 0), (110, 1)])
def test_counters_alone_must_differ_by_a_tenth(tmp_path: Path, exits: int, found: int) -> None:
    counts = [counted(0, exits, {12: exits}, vector=17)]
    assert len(guest_ac.find(trace(tmp_path, loop(100), more={"counts": counts}))) == found


def test_records_that_a_trap_followed_are_no_evidence(tmp_path: Path) -> None:
    traps = [*loop(10, 100_000), completed(100 * MS)]
    singles = [exited(index * MS + 90_000, vector=17, host_ns=950_000) for index in range(10)]
    singles += [exited(20 * MS + index * MS, vector=17, host_ns=5_000) for index in range(5)]
    more = {"counts": [counted(0, 15, {12: 15}, vector=17)], "exit": singles}
    (finding,) = guest_ac.find(trace(tmp_path, traps, more=more))
    assert finding.evidence["ns"].tolist() == [each["ns"] for each in singles[10:]]
    # What comes behind the last trap may have had one that was not recorded any more.
    late = [row | {"ns": row["ns"] + 200 * MS} for row in singles[10:]]
    assert guest_ac.find(trace(tmp_path, traps, more=more | {"exit": singles[:10] + late})) == []
    assert finding.confidence is Confidence.CERTAIN


def test_where_traps_were_lost_nobody_can_tell(tmp_path: Path) -> None:
    more = {"counts": [counted(0, 15, {12: 15}, vector=17)]}
    lost = [{"ns": START_NS, "cpu": 0, "kind": 1, "cause": 1, "count": 9}]
    assert guest_ac.find(trace(tmp_path, loop(3), more=more, lost=lost)) == []
    assert len(guest_ac.find(trace(tmp_path, loop(3), more=more))) == 1
