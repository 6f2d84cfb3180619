"""When a chain of early returns is a loop, and a loop a livelock: one trap or nanosecond more or less."""

from pathlib import Path

import pytest

from sldtrace.analyzers.ending_signal import SignalNumbers
from sldtrace.analyzers.endings import EndedBy
from sldtrace.analyzers.finding import Severity
from sldtrace.analyzers.loops import LoopNumbers
from sldtrace.analyzers.progress import ProgressNumbers
from sldtrace.host.signals import Code
from tests.analyzers import synthetic
from tests.analyzers.shorthands import find, one, subject_of
from tests.analyzers.synthetic import (
    LONGEST,
    MS,
    RIP,
    SIGUSR1,
    START_NS,
    TICK,
    VCPU,
    VMM,
    completed,
    facts,
    lasting,
    loop,
    not_penalized,
)

# What is a loop


def test_a_livelock_is_one_finding_with_all_its_traps(tmp_path: Path) -> None:
    tasks = [synthetic.task(VCPU, b"CPU 0/KVM"), synthetic.task(VMM, b"qemu")]
    finding = one(tmp_path, loop(200), tasks=tasks)
    assert (finding.kind, finding.verdict) == ("early-return-loop", "livelock")
    assert finding.severity is Severity.CRITICAL
    assert vars(finding.subject) == {
        "process": "qemu",
        "tgid": VMM,
        "thread": "CPU 0/KVM",
        "tid": VCPU,
        "vcpu": 0,
        "vm": "",
        "vm_uuid": "",
        "vmm": "",
    }
    assert finding.rip == RIP
    assert (finding.start_ns, finding.end_ns) == (START_NS, START_NS + 200 * MS - 30_000)
    assert len(finding.evidence) == 200
    assert finding.numbers == LoopNumbers(
        guest=True,
        loops=1,
        in_loops_ns=200 * MS - 30_000,
        longest_ns=200 * MS - 30_000,
        traps=200,
        early_returns=200,
        semaphore_early_returns=0,
        slept_median_ns=MS - 50_000,
        always_early_below_ns=2 * TICK,
        always_completes_above_ns=3 * TICK,
        sleep_shortest_ns=3 * TICK,
        sleep_longest_ns=4 * TICK,
        # 12 ms in the sleep; per period 50 us pass outside of it.
        least_period_ns=3 * TICK + 50_000,
        other_threads=None,
        progress=ProgressNumbers(
            detection_off=0,
            exits=199,
            guest_ns=199 * 6_000,
            watched_traps=199,
            unwatched_traps=0,
            watched_ns=200 * MS - 30_000,
            missed_returns=0,
            exit_records=0,
            other_exits=None,
            other_addresses=None,
            elsewhere=0,
        ),
        cpu=None,
        ended_by=(EndedBy("signal", SIGUSR1, 200),),
        signal=SignalNumbers(
            number=SIGUSR1,
            code=Code.SI_TIMER,
            to_process=False,
            sender_tgid=0,
            sender_tid=0,
            made_by="timer_create",
            ended=200,
            records=0,
            period_ns=MS,
            period_spread_ns=0,
        ),
        other_signals=(),
    )


def test_no_traps_and_completed_penalties_are_no_loops(tmp_path: Path) -> None:
    assert find(tmp_path, []) == []
    assert find(tmp_path, [completed(index * 20 * MS) for index in range(100)]) == []
    assert find(tmp_path, [not_penalized(index * 8 * MS) for index in range(100)]) == []
    assert find(tmp_path, [], opening={}) == []


@pytest.mark.parametrize(("length_ns", "found"), [(LONGEST, 0), (LONGEST + 1, 1)])
def test_a_loop_outlasts_a_penalty(tmp_path: Path, length_ns: int, found: int) -> None:
    assert len(find(tmp_path, lasting(length_ns))) == found


def test_the_length_is_that_of_this_kernels_penalty(tmp_path: Path) -> None:
    old = facts(kernel={"release": "6.11.9"})
    assert find(tmp_path, lasting(5 * TICK), opening=old) == []
    assert len(find(tmp_path, lasting(5 * TICK + 1), opening=old)) == 1
    fast = facts(kernel={"tick_ns": MS})
    assert find(tmp_path, lasting(11 * MS), opening=fast) == []
    assert len(find(tmp_path, lasting(11 * MS + 1), opening=fast)) == 1


@pytest.mark.parametrize(("count", "found"), [(2, 0), (3, 1)])
def test_two_early_returns_may_be_chance(tmp_path: Path, count: int, found: int) -> None:
    assert len(find(tmp_path, lasting(100 * MS, count))) == found


@pytest.mark.parametrize(("left_ms", "found"), [(0, 0), (1, 1)])
def test_a_millisecond_left_is_an_early_return(tmp_path: Path, left_ms: int, found: int) -> None:
    counted = [finding.numbers.early_returns for finding in find(tmp_path, loop(30, left_ms=left_ms))]
    assert counted == [30] * found


@pytest.mark.parametrize(
    ("length_ns", "verdict", "severity"),
    [(8 * LONGEST - 1, "delayed", Severity.WARNING), (8 * LONGEST, "livelock", Severity.CRITICAL)],
)
def test_a_livelock_is_eight_penalties_long(
    tmp_path: Path, length_ns: int, verdict: str, severity: Severity
) -> None:
    finding = one(tmp_path, lasting(length_ns, 40))
    assert (finding.verdict, finding.severity) == (verdict, severity)
    assert finding.numbers.longest_ns == finding.numbers.in_loops_ns == length_ns


@pytest.mark.parametrize(
    ("length_ns", "verdict"), [(64 * LONGEST - 1, "delayed"), (64 * LONGEST, "livelock")]
)
def test_after_progress_a_livelock_is_sixty_four_penalties_long(
    tmp_path: Path, length_ns: int, verdict: str
) -> None:
    rows = [*lasting(8 * LONGEST, 20), completed(8 * LONGEST + MS), *lasting(length_ns, 200, 10 * LONGEST)]
    finding = one(tmp_path, rows)
    assert (finding.numbers.loops, finding.numbers.longest_ns) == (2, length_ns)
    assert finding.verdict == verdict


def test_a_stretch_that_is_no_loop_does_not_ask_for_more(tmp_path: Path) -> None:
    rows = [*lasting(LONGEST, 20), completed(LONGEST + MS), *lasting(8 * LONGEST, 40, 3 * LONGEST)]
    finding = one(tmp_path, rows)
    assert (finding.numbers.loops, finding.verdict) == (1, "livelock")


def test_many_short_loops_are_no_livelock(tmp_path: Path) -> None:
    rows = [row for index in range(10) for row in lasting(20 * MS, 10, index * 100 * MS)]
    finding = one(tmp_path, rows + [completed(index * 100 * MS + 50 * MS) for index in range(10)])
    assert finding.verdict == "delayed"
    assert finding.numbers.loops == 10
    assert finding.numbers.in_loops_ns == 200 * MS
    assert finding.numbers.longest_ns == 20 * MS


def test_the_longest_first(tmp_path: Path) -> None:
    rows = lasting(20 * MS, 10, tid=301) + lasting(40 * MS, 10, tid=302) + lasting(30 * MS, 10, tid=303)
    assert [subject_of(finding).tid for finding in find(tmp_path, rows)] == [302, 303, 301]


def test_how_long_the_penalty_is_was_seen(tmp_path: Path) -> None:
    """A kernel called 6.1 that has 4381b895f544: three jiffies of its sleeps are left, not four."""
    opening = synthetic.facts(kernel={"release": "6.1.0-44-cloud-amd64"})
    by_version = one(tmp_path, loop(100), opening=opening).numbers
    seen = one(tmp_path, loop(100, left_ms=12), opening=opening).numbers
    assert (by_version.always_completes_above_ns, by_version.sleep_longest_ns) == (4 * TICK, 5 * TICK)
    assert (seen.always_completes_above_ns, seen.sleep_longest_ns) == (3 * TICK, LONGEST)


# In its tense


@pytest.mark.parametrize(
    ("later", "headline", "since"),
    [
        (
            [completed(1_000 * MS + index * 40 * MS) for index in range(5)],
            "did not get past guest address 0x7c40 for 300 ms, then made progress",
            "5 traps, detection off after 5 of them, in the 9.7 s up to the end of the recording",
        ),
        (
            [],
            "did not get past guest address 0x7c40 for 300 ms",
            "no split lock of the thread in the 9.7 s up to the end of the recording",
        ),
    ],
)
def test_a_burst_that_has_ended_is_in_the_past(
    tmp_path: Path, later: list[synthetic.Row], headline: str, since: str
) -> None:
    (finding,) = find(tmp_path, [*loop(300), *later])
    assert (finding.verdict, finding.ongoing) == ("livelock", False)
    assert finding.headline == headline
    assert {fact.label: fact.text for fact in finding.facts}["then"] == since
    assert "SIGUSR1 ended the sleep early" in finding.cause


def test_what_is_ongoing_is_in_the_present(tmp_path: Path) -> None:
    finding = one(tmp_path, loop(10_000))
    assert finding.ongoing
    assert finding.headline == "does not get past guest address 0x7c40"
    assert "SIGUSR1 ends the sleep early" in finding.cause
    assert "then" not in [fact.label for fact in finding.facts]


def test_a_program_has_no_vm_exits(tmp_path: Path) -> None:
    finding = one(tmp_path, [row | {"flags": row["flags"] & ~synthetic.GUEST} for row in loop(300)])
    assert "VM exit" not in " ".join(fact.text for fact in finding.facts)
