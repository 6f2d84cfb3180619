"""The whole path on every kernel: a guest frozen in the emulated host, the recorder beside it, the verdict.

The limits are those that the project began with; what ran in the machine is in scenario.py.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.kernel import KERNELS
from sldtrace.analyzers.finding import Finding, Severity
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.trace import Trace, load
from sldtrace.host import signals
from sldtrace.host.msr import DETECT
from sldtrace.recording import schema
from sldtrace.recording.reader import open_recording
from tests.conftest import Scenario

pytestmark = [
    pytest.mark.lab,
    pytest.mark.every_kernel("how the probes attach, how long the penalty sleeps, what is counted"),
]

BACKENDS = ["fentry", "kprobe"]


def of(scenario: Scenario, name: str) -> Trace:
    return load(scenario.folder / f"{name}.sld")


def findings(scenario: Scenario, name: str) -> list[Finding[Any]]:
    return catalogue.run(of(scenario, name))


def guest(scenario: Scenario, recording: str, name: str) -> dict[str, Any]:
    result: dict[str, Any] = scenario.protocol[recording]["guests"][name]
    return result


def traps(scenario: Scenario, recording: str, name: str) -> Any:
    rows = of(scenario, recording).traps
    return rows[rows["tgid"] == guest(scenario, recording, name)["pid"]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_recording_ends_clean(scenario: Scenario, backend: str) -> None:
    protocol = scenario.protocol[backend]
    assert protocol["status"] == 0
    assert all(one["status"] == 0 for one in protocol["guests"].values())
    trace = of(scenario, backend)
    assert trace.recording.warnings == []
    assert trace.recording.closing is not None
    assert trace.recording.closing["ended_by"] == {"fentry": "SIGINT", "kprobe": "SIGTERM"}[backend]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_backend_is_the_one_that_the_kernel_allows(scenario: Scenario, backend: str) -> None:
    """The first recording prefers fentry; in the second the kernel's BTF was hidden."""
    said = "\n".join(scenario.protocol[backend]["stderr"])
    assert ("warning: the kernel has no BTF (CONFIG_DEBUG_INFO_BTF): using kprobes" in said) == (
        backend == "kprobe"
    )
    used = {probe["name"]: probe["backend"] for probe in of(scenario, backend).facts["probes"]}
    functions = ["handle_guest_split_lock", "handle_user_split_lock", "split_lock_warn"]
    functions += ["msleep_interruptible", "down_interruptible"]
    assert [used[name] for name in functions] == [backend] * len(functions)
    assert used["kvm:kvm_exit"] == "tracepoint"
    always = ("kvm:kvm_entry", "msr:write_msr", "sched:sched_process_exit", "sched:sched_process_exec")
    assert {used[name] for name in always} == {"raw_tracepoint"}
    # What reads the task takes its layout from BTF.
    assert {used[name] for name in ("signal:signal_generate", "sched:sched_migrate_task")} == {
        "raw_tracepoint" if backend == "fentry" else "tracepoint"
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_loop_is_finished_with_a_1_ms_timer(scenario: Scenario, backend: str) -> None:
    frozen = guest(scenario, backend, "frozen")
    assert frozen["loops"] == 0
    assert frozen["kvm_runs"] > 1500
    rows = traps(scenario, backend, "frozen")
    assert not rows["msr_cleared"].any()
    # What the first trap attaches is there after a round of the recorder (200 ms) and the time to attach.
    assert rows["msr_watched"].mean() > 0.7


@pytest.mark.parametrize("backend", BACKENDS)
def test_recorded_plus_lost_is_what_the_kernel_counted(scenario: Scenario, backend: str) -> None:
    """The kernel's count comes from a kprobe event in tracefs: other code, another mechanism."""
    counted = scenario.protocol[backend]["counted"]
    trace = of(scenario, backend)
    assert counted["missed"] == 0
    assert len(trace.traps) == counted["hits"] > 1500, trace.recording.losses
    assert trace.recording.losses == []
    assert trace.recording.closing is not None
    assert trace.recording.closing["seen"]["trap"] == counted["hits"]
    assert trace.recording.closing["unfinished"] == {"trap": 0, "exit": 0}


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_sleep_of_the_frozen_guest_returned_early(scenario: Scenario, backend: str) -> None:
    rows = traps(scenario, backend, "frozen")
    assert (rows["sleep_left_ms"] > 0).all()
    assert (rows["sleep_requested_ms"] == 10).all()
    assert (rows["guest"] & rows["warned"] & rows["slept"] & rows["handled"] & ~rows["semaphore"]).all()
    assert (rows["sleep_ns"] < rows["end_ns"] - rows["start_ns"]).all()
    assert rows["sleep_ns"].median() == pytest.approx(1e6, rel=0.1)
    watched = rows[rows["exits_watched"]]
    assert (watched["exits"] == 1).mean() > 0.99
    assert (watched["vcpu"] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_verdict(scenario: Scenario, backend: str) -> None:
    """One loop, of the frozen guest and of no other, with the right address, signal and period."""
    finding, slowed = findings(scenario, backend)
    assert finding.subject
    assert slowed.subject
    assert (slowed.kind, slowed.subject.tgid) == (
        "penalty-slowdown",
        guest(scenario, backend, "alive")["tgid"],
    )
    frozen = guest(scenario, backend, "frozen")
    assert (finding.kind, finding.verdict) == ("early-return-loop", "livelock")
    assert finding.severity is Severity.CRITICAL
    assert (finding.subject.tgid, finding.subject.tid) == (frozen["tgid"], frozen["tid"])
    assert finding.subject.vcpu == 0
    assert f"{finding.rip:#x}" == frozen["locked_address"]
    numbers = finding.numbers
    assert signals.name(numbers.signal.number) == "SIGUSR1"
    assert signals.code_name(numbers.signal.code) == "SI_TIMER"
    assert numbers.signal.sender_tid == 0
    assert numbers.signal.period_ns == pytest.approx(1e6, rel=0.2)
    assert numbers.progress.detection_off == 0
    assert numbers.loops == 1
    assert numbers.traps == len(traps(scenario, backend, "frozen"))
    assert finding.end_ns - finding.start_ns == pytest.approx(2e9, rel=0.05)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_threshold_is_that_of_this_kernel(scenario: Scenario, backend: str) -> None:
    """What the model says of the sleep is what the kernel did: in jiffies left, and in time slept."""
    finding, _ = findings(scenario, backend)
    tick = of(scenario, backend).facts["kernel"]["tick_ns"]
    assert tick == 4_000_000
    expected = KERNELS[scenario.kernel].sleep_jiffies
    assert finding.numbers.always_completes_above_ns == expected * tick
    early = traps(scenario, backend, "frozen")["sleep_left_ms"]
    assert early.max() * 1_000_000 == expected * tick
    rows = traps(scenario, backend, "alive")
    completed = rows[rows["slept"] & (rows["sleep_left_ms"] == 0)]["sleep_ns"]
    late = 300_000  # 60,000 instructions here: the tick itself is late, then the thread
    # One that a signal ended in its last jiffy counts as completed, too.
    assert (completed > finding.numbers.always_early_below_ns - late).all()
    assert (completed > finding.numbers.sleep_shortest_ns - late).mean() > 0.9
    # The recorder may hold the only CPU for longer than that, now and then.
    assert (completed < finding.numbers.sleep_longest_ns + late).mean() > 0.9


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_20_ms_timer_lets_the_guest_through(scenario: Scenario, backend: str) -> None:
    assert guest(scenario, backend, "alive")["loops"] > 0
    rows = traps(scenario, backend, "alive")
    completed = rows[rows["sleep_left_ms"] == 0]
    assert len(completed) > 10
    assert completed["msr_cleared"].all()
    assert (completed["semaphore_result"] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_the_penalty_no_thread_sleeps(scenario: Scenario, backend: str) -> None:
    assert guest(scenario, backend, "not_penalized")["loops"] > 0
    rows = traps(scenario, backend, "not_penalized")
    assert len(rows) > 5
    assert not rows["slept"].any()
    assert rows["msr_cleared"].all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_switch_of_detection_is_recorded(scenario: Scenario, backend: str) -> None:
    recording = open_recording(scenario.folder / f"{backend}.sld")
    writes = recording.records("detection")
    off = writes[writes["value"] & DETECT == 0]
    rows = recording.records("trap")
    switched = rows[rows["flags"] & schema.current().enums["trap_flags"].values["MSR_CLEARED"] != 0]
    assert len(off) == len(switched) > 20
    assert set(off["tid"].tolist()) == set(switched["tid"].tolist())
    assert abs(len(writes) - 2 * len(off)) <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_report_for_scripts(scenario: Scenario, backend: str) -> None:
    path = scenario.folder / f"{backend}.sld"
    done = report(path, "--format=json", "--fail-on", "critical")
    assert done.returncode == 3
    finding, _ = json.loads(done.stdout)["findings"]
    assert finding["kind"] == "early-return-loop"
    assert finding["rip"] == guest(scenario, backend, "frozen")["locked_address"]


def report(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sldtrace", "report", str(path), *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_nothing_stays_attached(scenario: Scenario) -> None:
    during = scenario.protocol["fentry"]["attached"]
    assert len(re.findall(r"^\d+: (tracing|tracepoint|raw_tracepoint)  ", during["prog"], re.MULTILINE)) >= 16
    assert during["map"].count("ringbuf") >= 8
    # Those by perf_event_open have no link that bpftool lists; those of fentry and of raw tracepoints have.
    assert min(during["link"].count(": tracing "), during["link"].count(": raw_tracepoint ")) >= 4
    assert scenario.protocol["left"]["after"] == scenario.protocol["left"]["before"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_recorder_stays_small(scenario: Scenario, backend: str) -> None:
    """With rings of the usual sizes, armed, after thousands of records."""
    resources = scenario.protocol[backend]["resources"]
    assert 10_000 < resources["memory"] <= 60 * 1024
    assert resources["compiler"] == []
