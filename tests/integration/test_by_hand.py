"""What takes minutes and need not run each time: SLDTRACE_BY_HAND=1 pytest tests/integration/test_by_hand.py

An unprivileged recorder under lockdown, CPU hotplug, a disk that fills; what ran is in by_hand.py.
"""

import errno
import os

import numpy as np
import pytest

from sldtrace.dataset.trace import load
from sldtrace.recording.reader import Recording, open_recording
from tests.analyzers.shorthands import loops_of
from tests.conftest import Scenario

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif("SLDTRACE_BY_HAND" not in os.environ, reason="takes minutes: SLDTRACE_BY_HAND=1"),
]

CAP_PERFMON, CAP_BPF = 38, 39


@pytest.fixture(scope="module")
def recording(by_hand: Scenario) -> Recording:
    return open_recording(by_hand.folder / "few.sld")


def test_two_capabilities_are_enough(by_hand: Scenario, recording: Recording) -> None:
    """As user 65534; kernel.unprivileged_bpf_disabled=2, lockdown=integrity, perf_event_paranoid=2."""
    assert by_hand.protocol["unprivileged bpf disabled"] == "2"
    assert "[integrity]" in by_hand.protocol["lockdown"]
    resources = by_hand.protocol["resources"]
    held = resources["capabilities"]
    both = 1 << CAP_PERFMON | 1 << CAP_BPF
    assert {name: held[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {
        "CapEff": both,
        "CapPrm": both,
        "CapInh": 0,
        "CapAmb": 0,
    }
    assert resources["no new privileges"] == 1
    assert resources["mode"] == "0o600"


def test_what_is_armed_late_works_with_them(by_hand: Scenario, recording: Recording) -> None:
    (update,) = [each for each in recording.updates if "probes" in each]
    used = {probe["name"]: probe["backend"] for probe in update["probes"]}
    for name in ("kvm:kvm_exit", "kvm:kvm_entry", "msr:write_msr", "sched:sched_migrate_task"):
        assert used[name], name
    for kind in ("exit", "user_exit", "signal", "counts"):
        assert recording.counts[kind] > 5, kind
    # Kernel addresses are hidden from this user: waits inside KVM are not recorded, and the file says so.
    assert {probe["detail"] for probe in update["probes"] if not probe["backend"]} == {
        "the addresses of the module kvm cannot be read"
    }


def test_a_cpu_goes_and_comes_back(by_hand: Scenario, recording: Recording) -> None:
    """No run is lost, none is mixed up, and both CPUs are seen again afterwards."""
    assert by_hand.protocol["online"] == [1, 2]
    traps = recording.records("trap")
    rows = by_hand.protocol["counted"]["counter/traps"]["rows"]
    for name in ("before", "hotplug", "after"):
        tid = by_hand.protocol["guests"][name]["vms"][0]["vcpus"][0]["tid"]
        mine = traps[traps["tid"] == tid]
        mine = mine[np.argsort(mine["start_ns"])]
        assert len(mine) == sum(hits for who, hits in rows if who == tid) > 300, name
        assert (mine["start_ns"][1:] >= mine["end_ns"][:-1]).all()
    assert recording.losses == []
    hotplug = traps[traps["tgid"] == by_hand.protocol["guests"]["hotplug"]["pid"]]
    assert hotplug["start_cpu"][0] == 1
    assert 0 in hotplug["start_cpu"]
    moved = recording.records("migrate")
    assert (1, 0) in {
        (int(row["from_cpu"]), int(row["to_cpu"])) for row in moved if row["tid"] == hotplug["tid"][0]
    }


def test_a_full_disk_is_one_line_and_leaves_a_readable_file(by_hand: Scenario, recording: Recording) -> None:
    assert by_hand.protocol["full"] == errno.ENOSPC
    few = by_hand.protocol["few"]
    assert few["status"] == 1
    *_, last = few["stderr"]
    assert last.startswith("sldtrace: ")
    assert "No space left on device" in last
    assert not any("Traceback" in line for line in few["stderr"])
    found = loops_of(load(by_hand.folder / "few.sld"))
    livelocked = {finding.subject.tgid for finding in found if finding.subject}
    assert livelocked >= {by_hand.protocol["guests"][name]["tgid"] for name in ("before", "after")}


def test_confidentiality_is_refused_in_a_line(by_hand: Scenario) -> None:
    refused = by_hand.protocol["refused"]
    assert refused["status"] == 1
    assert refused["stderr"].splitlines()[-1] == (
        "sldtrace: the kernel is locked down (confidentiality) and refuses tracing programs; "
        "boot with lockdown=integrity or less; sldtrace check lists all requirements"
    )


def test_nothing_stays(by_hand: Scenario) -> None:
    assert by_hand.protocol["left"]["after"] == by_hand.protocol["left"]["before"]
