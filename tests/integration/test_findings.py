"""Each finding on each kernel: provoked in the emulated host, it is the one that is reported.

What is provoked, and how, is in findings.py. Of `bus-lock` it is programs: the emulated CPU raises #DB, and
has no VM exits for bus locks (docs/lab.md). Each provocation is in a file of its own, in which nothing else
happens.
"""

import os
import re
from signal import SIGCHLD, SIGCONT, SIGRTMIN, SIGSTOP, SIGURG, SIGUSR1, SIGUSR2
from typing import Any

import pandas as pd
import pytest

from sldtrace.analyzers import limitations
from sldtrace.analyzers.finding import Confidence, Finding
from sldtrace.analyzers.findings import catalogue, toggle_storm
from sldtrace.dataset.trace import Trace, load
from sldtrace.host.msr import DETECT
from sldtrace.model import penalty as penalties
from sldtrace.model.penalty import WINDOW_JIFFIES
from sldtrace.prediction import modes
from tests.conftest import Scenario
from tests.integration.bus_locks import BUS_LOCK_DETECT

pytestmark = pytest.mark.lab

ONE = {
    "loop": "early-return-loop",
    "program": "user-space-split-lock",
    "slowed": "penalty-slowdown",
    "moved": "migration-defeat",
    "queue": "semaphore-queue",
    "slots": "lock-hold",
    "own": "guest-ac",
    "guarded": "toggle-storm",
    "real time": "detection-left-off",
}
HEALTHY = ["aligned", "exits", "rare", "overloaded", "not_penalized"]


def run(scenario: Scenario, name: str) -> dict[str, Any]:
    result: dict[str, Any] = scenario.protocol["runs"][name]
    return result


def of(scenario: Scenario, name: str) -> Trace:
    return load(scenario.folder / run(scenario, name)["file"])


def found(scenario: Scenario, name: str) -> list[Finding[Any]]:
    return catalogue.run(of(scenario, name))


def threads(scenario: Scenario, name: str) -> set[tuple[int, int]]:
    return {(vm["tgid"], vcpu["tid"]) for vm in run(scenario, name)["vms"] for vcpu in vm["vcpus"]}


def tgids(one: dict[str, Any]) -> set[int]:
    killed = {int(pid) for line in one["said"] for pid in re.findall(r"in process (\d+),", line)}
    vms = {vm["tgid"] for vm in one.get("vms", [])}
    return killed | vms | {one.get("beside", 0)} | set(one.get("pids", []))


def trapped(recorded: Trace) -> set[int]:
    return set(recorded.traps["tgid"].tolist())


def check_the_recording(scenario: Scenario) -> None:
    """Nothing was lost, and each provocation is whole, in a file that knows the sysctl of its time."""
    assert scenario.protocol["status"] == 0, scenario.protocol["stderr"]
    for name, one in scenario.protocol["runs"].items():
        recorded = of(scenario, name)
        assert one["file"] == one["ended in"], name
        assert recorded.recording.warnings == [], name
        # Twelve threads that wake up at one tick preempt each other in a probe, where the kernel lets them.
        skipped = sum(loss.count for loss in recorded.recording.losses if loss.cause == "skipped")
        assert len(recorded.recording.losses) == bool(skipped), name
        assert skipped <= (len(recorded.traps) / 5 if name == "semaphore" else 0), name
        assert recorded.number("split_lock", "mitigate") == one["mitigate"], name
        assert trapped(recorded) <= tgids(one), name


def test_the_recording_is_whole(findings: Scenario) -> None:
    check_the_recording(findings)
    assert {one["status"] for one in findings.protocol["runs"].values()} == {0}
    assert findings.protocol["left"]["after"] == findings.protocol["left"]["before"]


@pytest.mark.parametrize("name", ONE)
def test_the_finding_is_the_one(findings: Scenario, name: str) -> None:
    (finding,) = found(findings, name)
    assert finding.kind == ONE[name]
    if finding.subject is not None:
        assert {(finding.subject.tgid, finding.subject.tid)} == threads(findings, name)
    if finding.rip is not None:
        assert f"{finding.rip:#x}" == run(findings, name)["locked_address"]


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_found_where_all_is_well(findings: Scenario, name: str) -> None:
    assert run(findings, name)["loops"] > 0
    assert found(findings, name) == []


def test_what_is_healthy_was_really_tried(findings: Scenario) -> None:
    """Without traps, exits or a busy CPU there would be nothing to be wrong about."""
    for name, least in {"rare": 2, "overloaded": 1, "not_penalized": 20}.items():
        assert len(of(findings, name).traps) >= least, name
    assert of(findings, "exits").exit_counts["count"].sum() > 2000
    alone, beside = (run(findings, name) for name in ("rare", "overloaded"))
    assert beside["loops"] / beside["ran_ns"] < alone["loops"] / alone["ran_ns"] / 2


@pytest.mark.parametrize("name", ["loop", "program"])
def test_a_frozen_thread_livelocks(findings: Scenario, name: str) -> None:
    """The traps of the first guest attach the probe of MSR writes; until then others may write, too."""
    (finding,) = found(findings, name)
    assert run(findings, name)["loops"] == 0
    assert finding.verdict == "livelock"
    if name == "loop" and finding.numbers.progress.unwatched_traps:
        assert finding.confidence in (Confidence.LIKELY, Confidence.CERTAIN)
    else:
        assert finding.confidence is Confidence.CERTAIN


@pytest.mark.parametrize(
    ("name", "cause", "signal"),
    [("traced", "ptrace", None), ("frozen", "freezer", None), ("blocked", "signal", SIGUSR1)],
)
def test_what_ended_the_sleeps_is_named(
    findings: Scenario, name: str, cause: str, signal: int | None
) -> None:
    """A tracer, the freezer, and a timer beside a signal that is blocked and comes more often."""
    (finding,) = found(findings, name)
    first, *_ = finding.numbers.ended_by
    total = sum(each.ended for each in finding.numbers.ended_by)
    assert (first.cause, first.signal) == (cause, signal)
    assert first.ended >= 0.9 * total
    assert finding.verdict == "livelock"
    if signal is None:
        # Each stop or freeze ends one sleep at most.
        assert 0.5 * run(findings, name)["acted"] <= first.ended <= run(findings, name)["acted"] + 1


def test_stops_of_the_process_are_named(findings: Scenario) -> None:
    """By SIGSTOP and SIGCONT to the process: the vCPU's thread has the stop, or the signal itself."""
    (finding,) = found(findings, "stopped")
    ended = finding.numbers.ended_by
    stops = sum(
        each.ended for each in ended if each.cause == "group_stop" or each.signal in (SIGSTOP, SIGCONT)
    )
    assert stops >= 0.9 * sum(each.ended for each in ended)
    assert 0.5 * run(findings, "stopped")["acted"] <= stops <= run(findings, "stopped")["acted"] + 1


def culprit(scenario: Scenario, case: str) -> tuple[dict[str, Any], Finding[Any]]:
    """What a program says of itself, and the finding."""
    one: dict[str, Any] = run(scenario, "culprits")["cases"][case]
    mine = [each for each in found(scenario, "culprits") if each.subject and each.subject.tgid == one["pid"]]
    (finding,) = mine
    assert finding.subject
    assert (finding.kind, finding.subject.tid) == ("user-space-split-lock", one["tid"])
    return one, finding


@pytest.mark.parametrize(
    ("case", "signal", "words"),
    [
        ("children", SIGCHLD, "was child processes that end"),
        ("urgent data", SIGURG, "was urgent data on a socket"),
        ("task work", None, "Task work, which has no signal (of io_uring, for example), ended the sleep"),
    ],
)
def test_what_ended_the_sleeps_of_a_program_is_named(
    findings: Scenario, case: str, signal: int | None, words: str
) -> None:
    """As often as its handler ran, or, without a signal, as often as a request of its io_uring completed."""
    one, finding = culprit(findings, case)
    first, *_ = finding.numbers.ended_by
    assert (first.cause, first.signal) == ("signal" if signal else "task_work", signal)
    assert first.ended >= 0.9 * sum(each.ended for each in finding.numbers.ended_by)
    truth = one["handled"][str(int(signal))] if signal else one["counted"]
    assert 0.5 * truth <= first.ended <= truth + 1
    assert words in finding.cause
    if signal is None:
        assert one["handled"] == {}
        assert finding.numbers.signals == ()
        assert "SIG" not in finding.cause


def test_two_signals_have_their_shares_and_a_remedy(findings: Scenario) -> None:
    one, finding = culprit(findings, "two signals")
    ended = {each.signal: each.ended for each in finding.numbers.ended_by}
    for number in (SIGUSR1, SIGUSR2):
        assert 0.5 * one["handled"][str(int(number))] <= ended[number] <= one["handled"][str(int(number))] + 1
    assert [each.number for each in finding.numbers.signals] == [SIGUSR1, SIGUSR2]
    assert {each.sender_tid for each in finding.numbers.signals} == {one["pid"]}
    assert any("between the signals that reach this thread" in each.what for each in finding.remedies)


def test_a_burst_is_in_the_past_and_hides_nothing(findings: Scenario) -> None:
    """300 ms of signals; before and after them the thread completes its penalties."""
    burst = run(findings, "burst")["acted"]
    kinds = {each.kind: each for each in found(findings, "burst")}
    assert kinds.keys() == {"early-return-loop", "penalty-slowdown"}
    loop = kinds["early-return-loop"]
    assert not loop.ongoing
    assert loop.headline.endswith("then made progress")
    assert burst["begin_ns"] - 30_000_000 < loop.start_ns < loop.end_ns < burst["end_ns"] + 30_000_000
    assert loop.numbers.in_loops_ns > 0.5 * (burst["end_ns"] - burst["begin_ns"])
    assert loop.numbers.early_returns <= burst["sent"]
    assert loop.numbers.signal.number == SIGUSR1
    assert kinds["penalty-slowdown"].numbers.in_loops_ns >= loop.numbers.in_loops_ns
    assert kinds["penalty-slowdown"].numbers.early_returns <= 3


def check_waits(scenario: Scenario, name: str, delay_ns: int) -> Finding[Any]:
    """What the thread waited for a CPU is not in the penalties; the kernel's account of the thread has it."""
    (finding,) = found(scenario, name)
    numbers, recorded = finding.numbers, of(scenario, name)
    penalty = penalties.from_facts(recorded.facts, slept=True)
    assert finding.kind == "penalty-slowdown"
    assert numbers.slept_ns <= numbers.traps * penalty.longest_sleep_ns
    assert numbers.slept_ns + numbers.late_ns == recorded.traps["sleep_ns"].sum()
    assert numbers.cpu is not None
    # The samples are some of the time in which the scenario looked; it looked some of theirs.
    assert 0.3 * delay_ns < numbers.cpu.run_delay_ns < 1.2 * delay_ns + 100_000_000
    assert "waiting for a CPU" in finding.headline
    return finding


def test_a_wait_for_a_cpu_is_not_called_a_penalty(findings: Scenario) -> None:
    """Beside four processes that only use a CPU, with a lower priority."""
    finding = check_waits(findings, "starved", run(findings, "starved")["acted"])
    assert finding.numbers.late_ns > 0
    assert finding.numbers.cpu.throttled_ns == 0
    assert "other threads had it" in finding.cause


def test_a_quota_is_not_called_a_penalty(findings: Scenario) -> None:
    """A tenth of a CPU."""
    acted = run(findings, "throttled")["acted"]
    finding = check_waits(findings, "throttled", acted["delay_ns"])
    assert 0 < finding.numbers.cpu.throttled_ns <= acted["throttled_ns"]
    assert "because a quota (cpu.max) throttled the cgroup" in finding.cause


def test_a_blocked_signal_is_recorded_as_such(findings: Scenario) -> None:
    sent = of(findings, "blocked").signals
    blocked = sent[sent["signal"] == SIGRTMIN + 1]
    assert len(blocked) > 100
    assert blocked["blocked"].all()
    # The timer's signal is blocked outside of KVM_RUN only.
    assert sent[sent["signal"] == SIGUSR1]["blocked"].mean() < 0.1
    assert SIGRTMIN + 1 not in set(of(findings, "blocked").traps["signal"])


def test_signals_end_the_wait_for_the_semaphore(findings: Scenario) -> None:
    """With a timer that ends no sleep, beside a VM that mostly holds the semaphore."""
    stuck, queue, *rest = found(findings, "semaphore")
    assert (stuck.kind, queue.kind) == ("semaphore-early-return", "semaphore-queue")
    # A thread of the other VM that waits too little to be in the queue is slowed by its penalties.
    beside = run(findings, "semaphore")["beside"]
    assert all((one.kind, one.subject and one.subject.tgid) == ("penalty-slowdown", beside) for one in rest)
    assert stuck.subject is not None
    ((tgid, tid),) = threads(findings, "semaphore")
    assert (stuck.subject.tgid, stuck.subject.tid) == (tgid, tid)
    rows = of(findings, "semaphore").traps
    mine = rows[rows["tid"] == tid]
    ended = mine[mine["semaphore_result"] < 0]
    assert len(ended) > len(mine) / 3
    assert (ended["semaphore_result"] == -4).all()  # EINTR
    assert (ended["sleep_left_ms"] == 0).all()
    assert not ended["detection_off"].any()
    assert {each.tgid for each in queue.numbers.victims} == {beside}


def test_four_vms_queue_up_for_the_semaphore(findings: Scenario) -> None:
    (queue,) = found(findings, "queue")
    vms = {vm["tgid"] for vm in run(findings, "queue")["vms"]}
    assert queue.numbers.processes == len(vms) == 4
    assert {each.tgid for each in queue.numbers.victims} == vms
    # Not more than one window at a time on the whole host.
    assert 0.5 * queue.numbers.most_per_s < queue.numbers.completed_per_s <= queue.numbers.most_per_s


def test_moving_the_thread_costs_most_of_its_progress_and_the_records_explain_it(findings: Scenario) -> None:
    """The same guest with as many penalties, on one CPU and moved between two every 2 ms.

    Each penalty switches detection off where the thread wakes up; the next move takes it away from there.
    """
    still, moved = run(findings, "slowed"), run(findings, "moved")
    assert moved["loops"] / moved["ran_ns"] < still["loops"] / still["ran_ns"] / 3
    recorded = of(findings, "moved")
    (finding,) = found(findings, "moved")
    penalty = penalties.from_facts(recorded.facts)
    # Where it woke up is where detection was switched off: the CPU of the trap's return, and of the write.
    traps, moves = recorded.traps, recorded.migrations
    writes = recorded.detection[recorded.detection["tid"] != 0]
    off = pd.merge_asof(writes, traps[["start_ns", "end_ns", "end_cpu"]], left_on="ns", right_on="start_ns")
    off = off[(off["ns"] < off["end_ns"]) & (off["value"] & DETECT == 0)]
    assert len(off) == traps["detection_off"].sum() > 20
    assert (off["cpu"] == off["end_cpu"]).all()
    # Between a return and the next entry on another CPU there is a move from the one to the other.
    pairs = list(zip(traps.to_dict("records"), traps.iloc[1:].to_dict("records"), strict=False))
    elsewhere = [(one, other) for one, other in pairs if one["end_cpu"] != other["start_cpu"]]
    # Most, not all: a move can come just before a move back, or while the thread sleeps.
    assert len(elsewhere) > 0.7 * len(pairs)
    for one, other in elsewhere:
        between = moves[moves["ns"].between(one["end_ns"], other["start_ns"])]
        assert between["from_cpu"].iloc[0] == one["end_cpu"]
        assert between["to_cpu"].iloc[-1] == other["start_cpu"]
    # So it ran for the time to the next move only, which is the loss.
    assert finding.numbers.defeated > 0.7 * finding.numbers.completed
    assert finding.numbers.migrations >= finding.numbers.defeated
    used = finding.numbers.used_ns / finding.numbers.defeated
    assert used < 2_200_000 < WINDOW_JIFFIES * penalty.tick_ns
    in_guest = [of(findings, name).exit_counts["guest_ns"].sum() for name in ("moved", "slowed")]
    assert moved["loops"] / still["loops"] == pytest.approx(in_guest[0] / in_guest[1], rel=0.25)


def test_a_memory_slot_waits_for_the_penalized_vcpu(findings: Scenario) -> None:
    (finding,) = found(findings, "slots")
    assert finding.numbers.lock == "srcu"
    waits = of(findings, "slots").stalls
    tgids = {vm["tgid"] for vm in run(findings, "slots")["vms"]}
    assert set(waits["tgid"]) <= tgids
    assert set(waits["tid"]).isdisjoint(tid for _, tid in threads(findings, "slots"))


def test_the_guests_own_alignment_checks_have_no_penalty(findings: Scenario) -> None:
    (finding,) = found(findings, "own")
    assert len(of(findings, "own").traps) == 0
    assert finding.numbers.own == pytest.approx(run(findings, "own")["loops"], abs=3)


def test_a_program_that_switches_detection_on_makes_a_storm(findings: Scenario) -> None:
    """It is on again within a millisecond, by the thread of another process than the guest's."""
    recorded = of(findings, "guarded")
    (finding,) = found(findings, "guarded")
    assert finding.numbers.core == 0
    assert finding.numbers.median_ns < toggle_storm.least_ns(penalties.from_facts(recorded.facts)) / 2
    quiet = run(findings, "not_penalized")
    per_s = len(of(findings, "not_penalized").traps) / quiet["ran_ns"]
    assert len(recorded.traps) / run(findings, "guarded")["ran_ns"] > 4 * per_s


def test_a_real_time_vcpu_keeps_detection_off(findings: Scenario) -> None:
    """The work that switches it on again does not get the CPU; no other penalty is the cause."""
    (finding,) = found(findings, "real time")
    assert finding.numbers.cores == (1,)
    assert "real-time" in finding.cause
    assert "work item" not in finding.cause


def test_two_cpus_that_trap_at_once_share_the_work_item_where_there_is_only_one(findings: Scenario) -> None:
    """What the recording knows of the kernel is what MSR_TEST_CTRL says afterwards.

    One work item: 727209376f49 (in Debian's 6.1, too) to c929d08df8be (in its 6.1.176, not in its 6.12.107).
    """
    kinds = [finding.kind for finding in found(findings, "two at once")]
    left = [value >> 29 & 1 for value in run(findings, "two at once")["msr"].values()]
    if penalties.from_facts(of(findings, "two at once").facts).shared_reenable:
        (finding,) = found(findings, "two at once")
        assert finding.kind == "detection-left-off"
        assert "work item" in finding.cause
        assert sorted(left) == [0, 1]  # it is still off
        assert any(
            "numbers of traps are too low" in line
            for line in limitations.sentences(of(findings, "two at once"))
        )
    else:
        assert (kinds, left) == ([], [1, 1])
        assert len(of(findings, "two at once").traps) > 20


def test_the_metrics_count_every_trap_of_the_recording_and_every_loss(findings: Scenario) -> None:
    text = findings.protocol["metrics"]
    traps = [int(each) for each in re.findall(r"^sldtrace_traps_total\{.*\} (\d+)$", text, re.MULTILINE)]
    recorded = re.search(r"([\d,]+) traps in", "\n".join(findings.protocol["stderr"]))
    assert recorded
    assert sum(traps) == int(recorded[1].replace(",", "")) > 0
    # Those that the kernel skipped; see check_the_recording.
    losses = [loss for name in findings.protocol["runs"] for loss in of(findings, name).recording.losses]
    lost = sum(loss.count for loss in losses)
    assert re.search(rf"^sldtrace_recorder_lost_records_total {lost}$", text, re.MULTILINE)
    assert not findings.protocol["metrics left"]


def bus_locks(scenario: Scenario) -> dict[tuple[int, int], int]:
    """Executed, by thread and the address after the instruction."""
    executed = run(scenario, "bus locks")["bus locks"]
    return {(one["tid"], one["rip"]): one["count"] for one in executed}


def check_bus_locks(scenario: Scenario) -> None:
    """Each one that was executed is counted, at its address, and is in the metrics."""
    executed, recorded = bus_locks(scenario), of(scenario, "bus locks")
    counts = recorded.recording.records("bus_lock")
    for (tid, rip), count in executed.items():
        assert counts[(counts["tid"] == tid) & (counts["rip"] == rip)]["count"].sum() == count > 0
    assert counts["count"].sum() == sum(executed.values())
    findings = found(scenario, "bus locks")
    assert {each.kind for each in findings} == {"bus-lock"}
    assert {(each.subject.tid, each.numbers.bus_locks) for each in findings if each.subject} == {
        (tid, sum(count for (other, _), count in executed.items() if other == tid)) for tid, _ in executed
    }
    assert all(each.rip and (each.subject.tid, each.rip) in executed for each in findings if each.subject)
    total = re.findall(r"^sldtrace_bus_locks_total\{program=.*\} (\d+)$", scenario.protocol["metrics"], re.M)
    assert sum(map(int, total)) == sum(executed.values())


def test_bus_locks_of_programs_are_counted_where_they_have_no_effect(findings_off: Scenario) -> None:
    """Detection was switched on by hand: IA32_DEBUGCTL."""
    assert set(run(findings_off, "bus locks")["debugctl"].values()) == {0}
    check_bus_locks(findings_off)


@pytest.mark.skipif("SLDTRACE_RATELIMIT" not in os.environ, reason="a boot of its own: make test-kernels")
@pytest.mark.every_kernel("handle_bus_lock, which sleeps only in this mode")
def test_the_sleep_of_a_rate_limit_is_the_time_in_the_handler(findings_ratelimit: Scenario) -> None:
    """30 bus locks of two threads where the host may have 10 a second."""
    one = run(findings_ratelimit, "bus locks")
    assert set(one["debugctl"].values()) == {BUS_LOCK_DETECT}
    check_bus_locks(findings_ratelimit)
    counts = of(findings_ratelimit, "bus locks").recording.records("bus_lock")
    # The first ten at once, the next ones a second later each: in msleep(20), which no signal ends.
    assert counts["handler_ns"].sum() > 1_000_000_000
    assert counts["handler_ns"].sum() < 2 * one["took_ns"]
    assert any("above 10 a second" in each.cause for each in found(findings_ratelimit, "bus locks"))
    (audit,) = modes.run(of(findings_ratelimit, "bus locks"), 10).outlooks
    assert not audit.guest
    assert audit.asleep is not None
    assert audit.asleep > 0.5


def test_fatal(findings_fatal: Scenario) -> None:
    """The VMM is killed at its first split lock; a guest's own #AC stays its own."""
    check_the_recording(findings_fatal)
    (finding,) = found(findings_fatal, "fatal")
    assert (finding.kind, finding.confidence) == ("fatal", Confidence.CERTAIN)
    assert run(findings_fatal, "fatal")["status"] == 1
    assert "SIGBUS" in run(findings_fatal, "fatal")["said"][-1]
    assert len(of(findings_fatal, "fatal").traps) == 1
    assert [finding.kind for finding in found(findings_fatal, "own")] == ["guest-ac"]


def test_nothing_is_found_where_nothing_traps(findings_off: Scenario) -> None:
    check_the_recording(findings_off)
    assert run(findings_off, "off")["loops"] > 0
    assert not len(of(findings_off, "off").recording.records("bus_lock"))
    assert found(findings_off, "off") == []
    assert any("split_lock_detect=off" in line for line in limitations.sentences(of(findings_off, "off")))
