"""The systemd unit under systemd: ready, recording, hung and started again, with few rights, stopped.

Run by `make test-service` only: it wants a root file system of its own and takes minutes. One kernel:
`pytest -m service -k 6.12 tests/integration`.
"""

import json
import re
from typing import Any

import pytest

from lab import machine
from lab.job import Job
from lab.kernel import KERNELS
from lab.progress import Progress
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.trace import load
from sldtrace.host.access import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN
from tests.conftest import Scenario

pytestmark = [pytest.mark.lab, pytest.mark.service]

NEEDED = 1 << CAP_BPF | 1 << CAP_PERFMON
# host.0001.sld is that of the recorder that hung, host.0002.sld that of the one after it.
# What systemd-analyze security finds open, each with its reason in the unit.
OPEN = {
    "RootDirectoryOrRootImage",
    "UserOrDynamicUser",
    "CapabilityBoundingSet_CAP_BPF",
    "CapabilityBoundingSet_CAP_SYSLOG",
    "MemoryDenyWriteExecute",
    "ProtectKernelTunables",
    "ProtectKernelLogs",
    "RestrictAddressFamilies_AF_UNIX",
    "RestrictAddressFamilies_AF_INET_INET6",
    "ProtectHome",
    "ProtectProc",
    "ProcSubset",
    "PrivateNetwork",
    "PrivateUsers",
    "DeviceAllow",
    "SystemCallFilter_debug",
    "SystemCallFilter_privileged",
    "SystemCallFilter_resources",
    "IPAddressDeny",
}
RUNS = [("host.0001.sld", "guest"), ("host.0002.sld", "guest again")]


@pytest.fixture(scope="module", params=sorted(KERNELS))
def completed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """What service_scenario.py brought back from one kernel."""
    kernel, out = request.param, tmp_path_factory.mktemp("service")
    command = ["python3", "tests/integration/service_scenario.py", "/tmp/out"]
    job = Job(command, kernel=kernel, root="systemd", fetch=["/tmp/out"], out=out)
    result = machine.run(job, Progress(quiet=True))
    assert result.status == 0, result.output.decode(errors="replace")
    return Scenario(kernel, json.loads((out / "out/protocol.json").read_text()), out / "out/state")


def test_it_is_installed_and_active_when_it_records(completed: Scenario) -> None:
    protocol = completed.protocol
    assert protocol["installed"]["status"] == 0
    assert (protocol["started"]["status"], protocol["started"]["output"]) == (0, "")
    running = protocol["running"]
    assert (running["ActiveState"], running["SubState"], running["NRestarts"]) == ("active", "running", "0")
    assert running["StatusText"] == "recording to /var/lib/sldtrace/host.0001.sld"


@pytest.mark.parametrize(("name", "guest"), RUNS)
def test_the_frozen_guest_is_in_the_recording(completed: Scenario, name: str, guest: str) -> None:
    frozen, trace = completed.protocol[guest], load(completed.folder / name)
    assert frozen["loops"] == 0
    (finding,) = catalogue.run(trace)
    assert (finding.kind, finding.verdict) == ("early-return-loop", "livelock")
    assert finding.subject
    assert (finding.subject.tgid, finding.subject.vcpu) == (frozen["tgid"], 0)
    vm = trace.facts["processes"][str(frozen["tgid"])]["vm"]
    assert vm["name"] == "shop"
    assert trace.recording.losses == []


@pytest.mark.parametrize(("name", "guest"), RUNS)
def test_every_probe_is_attached_the_late_ones_too(completed: Scenario, name: str, guest: str) -> None:
    trace = load(completed.folder / name)
    probes = {probe["name"]: probe for probe in trace.facts["probes"]}
    assert {
        "signal:signal_generate",
        "sched:sched_process_exit",
        "kvm:kvm_exit",
        "sched:sched_migrate_task",
    } <= {*probes}
    assert [probe for probe in probes.values() if not probe["backend"]] == []
    assert trace.traps["exits_watched"].mean() > 0.7


def test_what_it_may_do(completed: Scenario) -> None:
    """With Debian's kernel.perf_event_paranoid the right that perf_event_open wants; else the two alone."""
    protocol = completed.protocol
    assert (protocol["paranoid"], protocol["unprivileged_bpf"]) == ("3", "2")
    for state, capabilities in (("recorded", NEEDED | 1 << CAP_SYS_ADMIN), ("recorded again", NEEDED)):
        found = protocol[state]
        assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == capabilities
        assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


def test_a_recorder_that_hangs_is_ended_and_replaced(completed: Scenario) -> None:
    protocol = completed.protocol
    restarted = protocol["restarted"]
    assert (restarted["ActiveState"], restarted["NRestarts"]) == ("active", "1")
    assert restarted["StatusText"] == "recording to /var/lib/sldtrace/host.0002.sld"
    assert any("Watchdog timeout" in line for line in protocol["journal"])
    assert not any("dumped core" in line for line in protocol["journal"])
    assert load(completed.folder / "host.0001.sld").recording.closing is None


def test_it_ends_clean(completed: Scenario) -> None:
    protocol = completed.protocol
    assert (protocol["stopped"]["status"], protocol["stopped"]["output"]) == (0, "")
    last = [line for line in protocol["journal"] if "sldtrace.service: " in line][-2:]
    assert "Deactivated successfully" in last[0], last
    closing = load(completed.folder / "host.0002.sld").recording.closing
    assert closing is not None
    assert closing["ended_by"] == "SIGTERM"
    assert len(protocol["programs while"]) > 10
    assert protocol["programs after"] == protocol["programs before"] == []
    assert protocol["removed"]["status"] == 0
    assert protocol["modes"] == {"sldtrace": "0o40700"} | dict.fromkeys(
        ("host.0001.sld", "host.0002.sld", "paged.json", "rights"), "0o100600"
    )


def test_what_runs_for_a_finding_runs_in_the_unit(completed: Scenario) -> None:
    printed: list[dict[str, Any]] = [
        json.loads(line) for line in (completed.folder / "paged.json").read_text().splitlines()
    ]
    assert {one["process"]["vm"]["name"] for one in printed} == {"shop"}
    frozen = [completed.protocol[guest]["tgid"] for _, guest in RUNS]
    assert [one["subject"]["tgid"] for one in printed if one["verdict"] == "livelock"] == frozen
    rights = {int(line.split()[1], 16) for line in (completed.folder / "rights").read_text().splitlines()}
    assert rights == {NEEDED | 1 << CAP_SYS_ADMIN, NEEDED}


def test_nothing_was_forbidden(completed: Scenario) -> None:
    """Neither says the recorder so, nor does its journal; the unit is as tight as it claims."""
    said = [line for line in completed.protocol["journal"] if "sldtrace[" in line]
    assert said
    assert not [line for line in said if re.search(r"not permitted|denied|warning|Traceback", line)]
    assert {row["json_field"] for row in completed.protocol["security"] if row["set"] is False} == OPEN
