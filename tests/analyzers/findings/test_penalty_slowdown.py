"""Threads slowed by penalties: each threshold on both sides, and what other findings explain."""

from pathlib import Path

import numpy as np
import pytest

from sldtrace.analyzers.finding import Severity
from sldtrace.analyzers.findings import penalty_slowdown
from tests.analyzers.shorthands import said
from tests.analyzers.synthetic import (
    COMPLETED,
    FLAGS,
    GUEST,
    LONGEST,
    MS,
    completed,
    early,
    interrupted,
    loop,
    not_penalized,
    sampled,
    trace,
)


@pytest.mark.parametrize(
    ("penalties", "lost_ns", "span_ns", "slowed"),
    [(3, 5, 100, True), (2, 50, 100, False), (3, 4, 100, False), (3, 5, 101, False)],
)
def test_a_twentieth_of_its_time_slows_a_thread(
    penalties: int, lost_ns: int, span_ns: int, slowed: bool
) -> None:
    given = (np.array([value]) for value in (penalties, lost_ns, span_ns))
    assert penalty_slowdown.is_slowed(*given).tolist() == [slowed]


@pytest.mark.parametrize(("every_ms", "found"), [(250, 1), (350, 0)])
def test_three_penalties_have_two_times_in_between(tmp_path: Path, every_ms: int, found: int) -> None:
    """13 ms each; all three of them are more than a twentieth of the time at 350 ms, too."""
    rows = [completed(n * every_ms * MS) for n in range(3)]
    assert len(penalty_slowdown.find(trace(tmp_path, rows))) == found


@pytest.mark.parametrize(("last_ms", "every_ms", "found"), [(13, 250, 1), (13, 350, 0), (900, 350, 0)])
def test_waits_count_without_the_last_one(tmp_path: Path, last_ms: int, every_ms: int, found: int) -> None:
    """For the semaphore, without any sleep."""
    rows = [
        completed(n * every_ms * MS, sleep_ns=0, semaphore_ns=(last_ms if n == 2 else 13) * MS)
        for n in range(3)
    ]
    assert len(penalty_slowdown.find(trace(tmp_path, rows))) == found


@pytest.mark.parametrize(("every_ms", "severity"), [(64, Severity.WARNING), (68, Severity.NOTICE)])
def test_a_fifth_of_its_time_is_a_warning(tmp_path: Path, every_ms: int, severity: Severity) -> None:
    (finding,) = penalty_slowdown.find(trace(tmp_path, [completed(n * every_ms * MS) for n in range(100)]))
    assert finding.severity is severity


def test_a_program_has_no_guest_time(tmp_path: Path) -> None:
    def labels(flags: int) -> list[str]:
        rows = [completed(n * 100 * MS, flags=flags) for n in range(5)]
        (finding,) = penalty_slowdown.find(trace(tmp_path, rows))
        return [each.label for each in finding.facts]

    flags = completed(0)["flags"]
    assert labels(flags) == ["penalties", "in them", "progress"]
    assert labels(flags & ~GUEST) == ["penalties", "in them"]


def test_threads_in_loops_or_without_penalties_are_not_slowed(tmp_path: Path) -> None:
    assert (
        penalty_slowdown.find(trace(tmp_path, [*loop(100), completed(110 * MS), *loop(100, 140 * MS)])) == []
    )
    assert penalty_slowdown.find(trace(tmp_path, [not_penalized(n * 9 * MS) for n in range(100)])) == []


def test_what_a_thread_lost_besides_a_loop_is_not_hidden_by_it(tmp_path: Path) -> None:
    """A livelock of 300 ms, then seconds of penalties at the same address."""
    rows = loop(300)
    rows += [completed(1_000 * MS + index * 40 * MS) for index in range(100)]
    recorded = trace(tmp_path, rows)
    (finding,) = penalty_slowdown.find(recorded)
    numbers = finding.numbers
    assert (numbers.traps, numbers.completed, numbers.early_returns) == (100, 100, 0)
    assert (numbers.slept_ns, numbers.waited_ns) == (1_300 * MS, 0)
    assert numbers.in_loops_ns == 300 * MS - 30_000
    assert numbers.span_ns == rows[-1]["end_ns"] - rows[0]["start_ns"] - numbers.in_loops_ns
    assert "of its time besides its loops in penalties" in finding.headline
    assert [each.label for each in finding.facts] == ["penalties", "in them", "besides"]


@pytest.mark.parametrize(("loop_ms", "found"), [(775, 1), (785, 0)])
def test_where_a_thread_ends_in_a_loop_all_its_penalties_before_it_count(
    tmp_path: Path, loop_ms: int, found: int
) -> None:
    """Three of 13 ms in 780 ms; the last trap, which is left out elsewhere, is in the loop."""
    rows = [*(completed(n * 250 * MS) for n in range(3)), *loop(200, loop_ms * MS)]
    assert len(penalty_slowdown.find(trace(tmp_path, rows))) == found


def test_a_loop_alone_is_no_slowdown(tmp_path: Path) -> None:
    rows = [*loop(3_000), *(completed(3_000 * MS + index * 500 * MS) for index in range(4))]
    assert penalty_slowdown.find(trace(tmp_path, rows)) == []


def test_a_wait_for_a_cpu_is_not_slept(tmp_path: Path) -> None:
    """Each sleep of 13 ms ends 37 ms late: of 100 ms, 16 ms at most are the penalty's."""
    rows = [completed(n * 100 * MS, sleep_ns=50 * MS) for n in range(50)]
    busy = {"schedstat": [sampled((n + 1) * 1_000 * MS, 400 * MS) for n in range(5)]}
    (finding,) = penalty_slowdown.find(trace(tmp_path, rows, more=busy))
    numbers = finding.numbers
    assert (numbers.slept_ns, numbers.late_ns) == (50 * LONGEST, 50 * (50 * MS - LONGEST))
    assert numbers.cpu is not None
    assert (numbers.cpu.sampled_ns, numbers.cpu.run_delay_ns) == (5_000 * MS, 2_000 * MS)
    assert "in penalties and 40 % waiting for a CPU" in finding.headline
    assert "other threads had it" in finding.cause
    assert [each.label for each in finding.facts] == ["penalties", "in them", "late", "CPU", "progress"]
    assert "CPU time" in finding.remedies[1].what


def test_late_sleeps_alone_are_no_slowdown(tmp_path: Path) -> None:
    """16 ms of each second at most are the penalty's, and 900 ms are waits for a CPU."""
    assert (
        penalty_slowdown.find(
            trace(tmp_path, [completed(n * 1_000 * MS, sleep_ns=916 * MS) for n in range(9)])
        )
        == []
    )


def test_a_quota_is_named(tmp_path: Path) -> None:
    rows = [completed(n * 40 * MS) for n in range(50)]
    more = {"schedstat": [sampled(1_000 * MS, 500 * MS, 700 * MS), sampled(2_000 * MS, 500 * MS, 100 * MS)]}
    (finding,) = penalty_slowdown.find(trace(tmp_path, rows, more=more))
    assert "most of it because a quota (cpu.max) throttled the cgroup" in finding.cause
    assert "up to 600 ms of it by a quota" in finding.facts[2].text
    assert "raise the CPU quota" in finding.remedies[1].what


def test_a_short_wait_for_a_cpu_is_not_said(tmp_path: Path) -> None:
    rows = [completed(n * 40 * MS) for n in range(50)]
    (finding,) = penalty_slowdown.find(
        trace(tmp_path, rows, more={"schedstat": [sampled(1_000 * MS, 49 * MS)]})
    )
    assert finding.numbers.cpu is not None
    assert "CPU" not in finding.headline
    assert "CPU" not in [each.label for each in finding.facts]


def test_what_is_said_of_a_vcpu_and_of_a_program(tmp_path: Path) -> None:
    rows = [completed(at * 40 * MS, rip=0x10 + at % 2) for at in range(50)]
    rows += [completed(at * 40 * MS + 7 * MS, tid=202, flags=COMPLETED, vcpu=-1) for at in range(40)]
    rows += [early(1_600 * MS + 7 * MS, tid=202, flags=COMPLETED & ~GUEST & ~FLAGS["SEMAPHORE"], vcpu=-1)]
    vcpu, program = penalty_slowdown.find(trace(tmp_path, sorted(rows, key=lambda row: int(row["start_ns"]))))
    found = said(vcpu)
    assert found.pop("evidence") == [at * 40 for at in range(50)]
    assert found == {
        "who": (200, 201, 0),
        "headline": "spent 32.9 % of its time in penalties, but made progress",
        "facts": [
            "penalties: 50 at 2 addresses: 50 completed",
            "in them: 650 ms of 1.97 s (32.9 %)",
            "progress: 294 us in the guest (0.0149 %)",
        ],
        "time": (0, 1_973.02, False),
        "rip": None,
        "sure": ("CERTAIN", "the time in the penalties was measured"),
        "remedies": ["On the host", "In the guest", "On the host"],
    }
    numbers = vcpu.numbers
    assert (numbers.span_ns, numbers.penalty_share, numbers.longest_ns) == (1_973_020_000, 0.3294, 13 * MS)
    assert (said(program)["who"], said(program)["rip"]) == ((200, 202, None), 0x7C40)
    assert said(program)["remedies"] == ["On the host", "In the program", "On the host"]
    assert len(program.evidence) == program.numbers.traps


def test_waits_in_a_loop_are_left_out(tmp_path: Path) -> None:
    """A loop at the semaphore, then penalties with waits of their own."""
    rows = [interrupted(at * MS) for at in range(300)]
    rows += [completed(1_000 * MS + at * 40 * MS, semaphore_ns=2 * MS) for at in range(100)]
    (finding,) = penalty_slowdown.find(trace(tmp_path, rows))
    numbers = finding.numbers
    assert (numbers.traps, numbers.waited_ns, numbers.slept_ns) == (100, 200 * MS, 1_300 * MS)
    span = rows[-1]["end_ns"] - rows[0]["start_ns"] - numbers.in_loops_ns
    assert (numbers.span_ns, numbers.penalty_share) == (span, round(1_500 * MS / span, 4))
    assert "wait" in said(finding)["facts"][1]


def test_one_watched_trap_tells_no_guest_time(tmp_path: Path) -> None:
    rows = [completed(at * 40 * MS) for at in range(9)]
    for row in rows[:7]:
        row["flags"] &= ~FLAGS["EXITS_WATCHED"]
    (finding,) = penalty_slowdown.find(trace(tmp_path, rows))
    assert finding.numbers.guest_ns is not None
    rows[7]["flags"] &= ~FLAGS["EXITS_WATCHED"]
    (finding,) = penalty_slowdown.find(trace(tmp_path, rows))
    assert finding.numbers.guest_ns is None
    assert "guest time was not recorded" in said(finding)["facts"][2]
