"""The guests where split locks trap: two machines, in the modes warn (two CPUs) and fatal."""

import json
import subprocess
from typing import Any

import pytest

from lab import machine
from lab.job import Job
from lab.progress import Progress

pytestmark = pytest.mark.lab

JIFFY_NS = 4_000_000  # HZ=250


def boot(part: str, *arguments: str, **options: Any) -> dict[str, Any]:
    job = Job(["python3", "tests/vmm/guests_in_lab.py", part, *arguments], **options)
    result = machine.run(job, Progress(quiet=True))
    assert result.status == 0, result.output.decode()
    said: dict[str, Any] = json.loads(result.output)
    return said


@pytest.fixture(scope="module")
def machine_in_warn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the part `warn` gave, by name."""
    program = tmp_path_factory.mktemp("vmm") / "loop"
    subprocess.run(["cc", "-O2", "-o", program, "examples/vmm/loop.c"], check=True)
    runs: dict[str, Any] = boot("warn", "/tmp/loop", cpus=2, put={"/tmp/loop": program})["runs"]
    return runs


@pytest.fixture(scope="module")
def warn(machine_in_warn: dict[str, Any]) -> dict[str, Any]:
    """The results of its runs of guests, all of which ended well."""
    runs = {name: one for name, one in machine_in_warn.items() if "result" in one}
    assert {name: one["said"] for name, one in runs.items() if one["status"]} == {}
    return {name: one["result"] for name, one in runs.items()}


@pytest.fixture(scope="module")
def fatal() -> dict[str, Any]:
    """What the part `fatal` gave: its runs, and lines of the kernel's log."""
    return boot("fatal", split_lock_detect="fatal")


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


def test_an_ac_of_the_guests_own_is_not_punished(warn: dict[str, Any]) -> None:
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


def test_a_memory_slot_waits_for_the_vcpu_that_is_punished(warn: dict[str, Any]) -> None:
    punished, free = warn["slots"]["vms"][0], warn["slots, aligned"]["vms"][0]
    assert free["slot_updates"] > 1.5 * punished["slot_updates"] > 0
    assert punished["longest_slot_update_ns"] > 2 * JIFFY_NS


def test_two_vms_share_the_penalty(warn: dict[str, Any]) -> None:
    assert len({vm["tgid"] for vm in warn["two VMs"]["vms"]}) == 2
    assert warn["two VMs"]["loops"] > 0


def test_a_sweep_finds_where_progress_begins(machine_in_warn: dict[str, Any]) -> None:
    found = machine_in_warn["sweep"]
    loops = {
        (point["mitigate"], point["timeout_ns"] // 1_000_000): point["loops"] for point in found["points"]
    }
    assert found["whole"] is True
    assert (loops[1, 1], loops[1, 7]) == (0, 0)
    assert all(loops[setting] > 0 for setting in [(1, 13), (1, 25), (0, 1), (0, 7), (0, 13), (0, 25)])


@pytest.mark.parametrize("how", ["defer", "cputime"])
def test_the_example_vmm_progresses_with_a_tick_of_1_millisecond(
    machine_in_warn: dict[str, Any], how: str
) -> None:
    """And with the tick of everybody else it does not; examples/vmm/loop.c says why."""
    naive, careful = machine_in_warn["naive"], machine_in_warn[how]
    assert (naive["status"], naive["said"].split()[1]) == (1, "0")
    assert careful["status"] == 0, careful
    assert int(careful["said"].split()[1]) > 1_000_000


@pytest.mark.parametrize("name", ["split", "rare", "program"])
def test_fatal_mode_kills_the_vms_process_and_is_explained(fatal: dict[str, Any], name: str) -> None:
    run = fatal["runs"][name]
    assert run["status"] == 1
    assert "killed the monitor by SIGBUS at a split lock of guest" in run["said"]
    assert "split_lock_detect=fatal" in run["said"]


@pytest.mark.parametrize("name", ["own #AC", "aligned"])
def test_in_fatal_mode_who_takes_no_split_lock_runs(fatal: dict[str, Any], name: str) -> None:
    run = fatal["runs"][name]
    assert run["status"] == 0
    assert run["result"]["loops"] > 0
    assert run["result"]["split_lock_detection"]["mode"] == "fatal"


def test_in_fatal_mode_the_log_tells_of_the_first_split_lock_only(fatal: dict[str, Any]) -> None:
    """pr_warn_once in handle_guest_split_lock; of a program's nothing is said at all."""
    (line,) = fatal["log"]
    assert "fatal split_lock trap at address: 0x4018" in line
