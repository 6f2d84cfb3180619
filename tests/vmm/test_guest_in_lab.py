"""The guests where split locks trap: judges what guests_in_lab.py brought back, in each mode."""

from typing import Any

import pytest

from lab.kernel import DEFAULT, KERNELS
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset import trace
from tests.conftest import Scenario

pytestmark = pytest.mark.lab

JIFFY_NS = KERNELS[DEFAULT].tick_ns


def results(runs: dict[str, Any]) -> dict[str, Any]:
    """What `guest run --format json` printed, by name; every run ended well."""
    assert {name: one["said"] for name, one in runs.items() if one["status"]} == {}
    return {name: one["result"] for name, one in runs.items()}


@pytest.fixture(scope="module")
def warn(guests_stress: Scenario) -> dict[str, Any]:
    return results(guests_stress.protocol["runs"])


@pytest.fixture(scope="module")
def off(guests_off: Scenario) -> dict[str, Any]:
    return results(guests_off.protocol["runs"])


def loops(run: dict[str, Any]) -> dict[tuple[int, int], int]:
    """What a sweep that ended well finished, by the sysctl and the timer in milliseconds."""
    assert (run["status"], run["result"]["whole"]) == (0, True), run["said"]
    points = run["result"]["points"]
    return {(point["mitigate"], point["timeout_ns"] // 1_000_000): point["loops"] for point in points}


@pytest.mark.parametrize(
    "name", ["timer", "itimer", "tgkill", "immediate-exit", "xchg", "every offset", "frozen vCPUs", "program"]
)
def test_no_loop_is_finished_with_a_signal_each_millisecond(warn: dict[str, Any], name: str) -> None:
    assert warn[name]["loops"] == 0
    assert warn[name]["verdict"][0].startswith("no progress")


@pytest.mark.parametrize("name", ["slow timer", "slow tgkill", "report", "one operand", "slow program"])
def test_every_vcpu_progresses_with_a_signal_each_25_milliseconds(warn: dict[str, Any], name: str) -> None:
    assert all(vcpu["loops"] > 0 for vm in warn[name]["vms"] for vcpu in vm["vcpus"])


def test_a_rare_split_lock_ends_the_progress_when_it_comes(warn: dict[str, Any]) -> None:
    assert warn["rare"]["loops"] == 999
    assert warn["rare"]["rip"] == warn["rare"]["locked_address"]


def test_an_ac_of_the_guests_own_has_no_penalty(warn: dict[str, Any]) -> None:
    assert warn["own #AC"]["loops"] > 1000
    assert warn["own #AC"]["longest_run_ns"] < 2 * JIFFY_NS


def test_the_guest_reports_what_its_memory_says(warn: dict[str, Any]) -> None:
    ((vcpu,),) = [vm["vcpus"] for vm in warn["report"]["vms"]]
    assert vcpu["reported"] == 100 * vcpu["io_exits"] > 0
    assert vcpu["reported"] <= vcpu["loops"] <= vcpu["reported"] + 100


def test_moving_the_thread_costs_most_of_the_progress_and_it_is_where_it_was_moved_to(
    warn: dict[str, Any],
) -> None:
    assert warn["moved"]["loops"] < warn["slow timer"]["loops"] / 2
    (vm,) = warn["moved"]["vms"]
    assert vm["migrations"] > 50
    assert vm["vcpus"][0]["cpu_checks"] > 5
    assert vm["vcpus"][0]["cpu_mismatches"] == 0


def test_a_memory_slot_waits_for_a_penalized_vcpu(warn: dict[str, Any]) -> None:
    penalized, free = warn["slots"]["vms"][0], warn["slots, aligned"]["vms"][0]
    assert free["slot_updates"] > 1.5 * penalized["slot_updates"] > 0
    assert penalized["longest_slot_update_ns"] > 2 * JIFFY_NS


def test_two_vms_share_the_penalty(warn: dict[str, Any]) -> None:
    assert len({vm["tgid"] for vm in warn["two VMs"]["vms"]}) == 2
    assert warn["two VMs"]["loops"] > 0


@pytest.mark.every_kernel("the shortest timer with which there is progress")
def test_a_sweep_finds_where_progress_begins_on_each_kernel(guests_sweep: Scenario) -> None:
    found = loops(guests_sweep.protocol["sweep"])
    kernel = KERNELS[guests_sweep.kernel]
    none, some = kernel.no_progress_ms, kernel.progress_ms
    timers = {timer for _, timer in found}
    assert {1, none, some, 25} <= timers
    assert {timer: found[1, timer] for timer in timers if timer <= none and found[1, timer]} == {}
    assert all(found[1, timer] > 0 for timer in timers if timer >= some)
    assert all(found[0, timer] > 0 for timer in timers)


@pytest.mark.every_kernel("the shortest timer with which there is progress")
def test_the_setting_of_the_penalty_is_as_before_a_sweep(guests_sweep: Scenario) -> None:
    assert guests_sweep.protocol["mitigate"] == {"before": 1, "after": 1}


@pytest.mark.parametrize("how", ["defer", "cputime"])
def test_the_example_vmm_progresses_with_a_tick_of_1_millisecond(guests_stress: Scenario, how: str) -> None:
    """And with the tick of everybody else it does not; examples/vmm/loop.c says why."""
    naive, careful = (guests_stress.protocol["loop"][each] for each in ("naive", how))
    assert (naive["status"], naive["said"].split()[1]) == (1, "0")
    assert careful["status"] == 0, careful
    assert int(careful["said"].split()[1]) > 1_000_000


def test_one_command_freezes_a_guest_records_it_and_the_recording_tells(guests_stress: Scenario) -> None:
    run = guests_stress.protocol["recorded"]
    assert run["status"] == 0, run["error"]
    assert "no progress: not one loop finished" in run["said"]
    assert "there will be nothing to record" not in run["error"]
    path = guests_stress.folder / "recorded.sld"
    # The machine has no pandas, which is said; what was counted is printed all the same.
    assert "pandas is missing; install it, or take the file to another machine" in run["error"]
    findings = catalogue.run(trace.load(path))
    (livelock,) = (finding for finding in findings if finding.kind == "early-return-loop")
    assert (livelock.verdict, livelock.rip) == ("livelock", 0x4018)


def test_with_detection_off_every_guest_progresses_with_every_timer(
    guests_off: Scenario, off: dict[str, Any]
) -> None:
    assert all(vcpu["loops"] > 0 for run in off.values() for vm in run["vms"] for vcpu in vm["vcpus"])
    assert off["split"]["split_lock_detection"]["mode"] == "off"
    assert "booted with split_lock_detect=off" in off["split"]["verdict"][1]
    assert all(loops(guests_off.protocol["sweep"]).values())


@pytest.mark.parametrize("name", ["split", "rare", "program"])
def test_fatal_mode_kills_the_vms_process_and_is_explained_in_a_line(
    guests_fatal: Scenario, name: str
) -> None:
    run = guests_fatal.protocol["runs"][name]
    assert run["status"] == 1
    assert run["result"] is None
    _runs, line = run["said"]
    assert "killed the monitor by SIGBUS at a split lock of guest" in line
    assert "split_lock_detect=fatal" in line


def test_fatal_mode_ends_a_sweep_with_that_line(guests_fatal: Scenario) -> None:
    run = guests_fatal.protocol["sweep"]
    assert (run["status"], run["result"]) == (1, None)
    assert "killed the monitor by SIGBUS at a split lock of guest split-bts" in run["said"][-1]


@pytest.mark.parametrize("name", ["own #AC", "aligned"])
def test_in_fatal_mode_who_takes_no_split_lock_runs(guests_fatal: Scenario, name: str) -> None:
    run = guests_fatal.protocol["runs"][name]
    assert run["status"] == 0
    assert run["result"]["loops"] > 0
    assert run["result"]["split_lock_detection"]["mode"] == "fatal"


def test_in_fatal_mode_the_log_tells_of_the_first_split_lock_only(guests_fatal: Scenario) -> None:
    """pr_warn_once in handle_guest_split_lock; of a program's nothing is said at all."""
    (line,) = guests_fatal.protocol["log"]
    assert "fatal split_lock trap at address: 0x4018" in line
