"""Waits for a CPU: of which time they are, and what queues and loops say of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from sldtrace.analyzers import cpu_waits
from sldtrace.analyzers.cpu_waits import CpuWaits
from sldtrace.analyzers.finding import Confidence
from sldtrace.analyzers.findings import semaphore_queue
from sldtrace.engine.run_delays import RunDelay
from tests.analyzers.shorthands import find
from tests.analyzers.synthetic import MS, VMM, completed, loop, sampled, trace


@pytest.mark.parametrize(("delay_ns", "counts"), [(50, True), (49, False)])
def test_a_twentieth_of_the_time_counts(delay_ns: int, counts: bool) -> None:
    found = cpu_waits.measure([RunDelay(1_000, 0, delay_ns, 0), None])
    assert found is not None
    assert found.counts is counts
    assert not found.quota


def test_no_wait_at_all_counts_for_nothing() -> None:
    assert not CpuWaits(0, 0, 0).counts
    assert CpuWaits(10, 1, 0).counts


def test_of_several_threads_the_sums() -> None:
    assert cpu_waits.measure([RunDelay(10, 1, 2, 3), None, RunDelay(20, 5, 4, 7)]) == CpuWaits(30, 6, 10)


def test_a_quota_has_words_and_a_remedy_of_its_own() -> None:
    found = CpuWaits(1_000 * MS, 500 * MS, 50 * MS)
    assert [each.text for each in cpu_waits.fact(found)] == [
        "waited 500 ms for one in 1 s (50 %), up to 50 ms of it by a quota of the cgroup"
    ]
    assert "50 % of the time, part of it because a quota" in cpu_waits.sentence(found)
    assert "most of it because" in cpu_waits.sentence(replace(found, throttled_ns=250 * MS))
    assert "part of it because" in cpu_waits.sentence(replace(found, throttled_ns=250 * MS - 1))
    (remedy,) = cpu_waits.remedies(found, 7)
    assert "raise the CPU quota" in remedy.what
    assert "cat /proc/7/cgroup" in str(remedy.command)


def test_a_short_time_by_a_quota_is_only_a_fact() -> None:
    found = CpuWaits(1_000 * MS, 500 * MS, 49 * MS)
    assert "by a quota" in cpu_waits.fact(found)[0].text
    assert "other threads had it" in cpu_waits.sentence(found)
    assert "more CPU time" in cpu_waits.remedies(found, 7)[0].what
    assert "quota" not in cpu_waits.fact(replace(found, throttled_ns=0))[0].text


def test_a_short_wait_is_not_said() -> None:
    found = CpuWaits(1_000 * MS, 49 * MS, 49 * MS)
    assert (cpu_waits.fact(found), cpu_waits.sentence(found), cpu_waits.remedies(found, 7)) == ([], "", [])


def test_threads_that_were_not_sampled() -> None:
    assert cpu_waits.fact(None) == []
    assert cpu_waits.measure([None]) is None
    assert cpu_waits.sentence(None) == ""
    assert cpu_waits.remedies(None, 1) == []


def test_a_loop_has_the_waits_of_its_own_time(tmp_path: Path) -> None:
    """The thread waits for a CPU for hours after the loop."""
    samples = [sampled(1_000 * MS, 250 * MS), sampled(3_000 * MS, 900 * MS)]
    rows = [*loop(1_500), completed(1_500 * MS)]
    (finding,) = find(tmp_path, rows, more={"schedstat": samples})
    assert finding.numbers.cpu == cpu_waits.CpuWaits(1_000 * MS, 250 * MS, 0)
    assert finding.facts[-1].label == "CPU"
    assert "(25 %)" in finding.facts[-1].text


def test_a_burst_is_shorter_than_its_sample(tmp_path: Path) -> None:
    samples = [sampled(1_000 * MS, 600 * MS)]
    (finding,) = find(tmp_path, [*loop(300), completed(300 * MS)], more={"schedstat": samples})
    assert finding.numbers.cpu is None


@pytest.mark.parametrize(("delay_ms", "sure"), [(900, Confidence.LIKELY), (1, Confidence.CERTAIN)])
def test_a_queue_beside_busy_cpus_is_likely(tmp_path: Path, delay_ms: int, sure: Confidence) -> None:
    rows = [
        completed(n * 40 * MS + tid * MS, tid=tid, semaphore_ns=12 * MS)
        for n in range(50)
        for tid in (201, 202)
    ]
    samples = [sampled(1_000 * MS, delay_ms * MS, tid=tid) for tid in (201, 202)]
    (finding,) = semaphore_queue.find(trace(tmp_path, rows, more={"schedstat": samples}))
    assert finding.confidence is sure
    assert finding.numbers.cpu is not None
    assert finding.numbers.cpu.run_delay_ns == 2 * delay_ms * MS
    assert {tgid for tgid, _ in finding.numbers.affected} == {VMM}
