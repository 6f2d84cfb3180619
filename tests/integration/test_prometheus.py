"""Prometheus scrapes a recorder: the alert fires for the frozen VM, and not for the healthy one.

Run by `make test-service` only: it wants a root file system of its own. One kernel.
"""

import json
from typing import Any

import pytest

from lab import machine
from lab.job import Job
from lab.progress import Progress
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.trace import load
from tests.conftest import Scenario
from tests.machines import ONE_KERNEL

pytestmark = [pytest.mark.lab, pytest.mark.service]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """What prometheus_scenario.py brought back."""
    out = tmp_path_factory.mktemp("prometheus")
    command = ["python3", "tests/integration/prometheus_scenario.py", "/tmp/out"]
    job = Job(command, kernel=ONE_KERNEL, root="prometheus", cpus=2, fetch=["/tmp/out"], out=out)
    result = machine.run(job, Progress(quiet=True))
    assert result.status == 0, result.output.decode(errors="replace")
    return Scenario(ONE_KERNEL, json.loads((out / "out/protocol.json").read_text()), out / "out")


def values(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The value of each VM."""
    return {row["metric"]["vm"]: float(row["value"][1]) for row in rows}


def test_the_rules_hold(scraped: Scenario) -> None:
    """Syntax and unit tests, by Debian's promtool."""
    check, tests = scraped.protocol["rules"]
    assert check["status"] == 0, check["said"]
    assert "SUCCESS" in check["said"]
    assert tests["status"] == 0, tests["said"]


def firing(alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those that are pending: a penalized VM is worth a warning, after five minutes."""
    return [alert for alert in alerts if alert["state"] == "firing"]


def test_the_recorder_is_scraped(scraped: Scenario) -> None:
    (target,) = scraped.protocol["targets"]
    assert (target["health"], target["lastError"]) == ("up", "")


def test_no_alert_for_a_vm_that_progresses(scraped: Scenario) -> None:
    assert firing(scraped.protocol["alerts before"]) == []


def test_the_alert_fires_for_the_frozen_vm_alone(scraped: Scenario) -> None:
    (alert,) = firing(scraped.protocol["alerts"])
    assert alert["labels"]["alertname"] == "SplitLockLivelock"
    assert (alert["labels"]["vm"], alert["labels"]["severity"]) == ("frozen", "critical")
    assert alert["annotations"]["summary"].startswith(
        "VM frozen on 127.0.0.1:9721: 1 vCPU(s) make no progress"
    )
    assert values(scraped.protocol["livelocked"]) == {"frozen": 1, "healthy": 0}


def test_the_recording_has_the_traps_that_were_scraped(scraped: Scenario) -> None:
    """Prometheus has those until its last scrape, so not more."""
    assert scraped.protocol["recorder"]["status"] == 0
    trace = load(scraped.folder / "host.sld")
    recorded = trace.traps.groupby("tgid").size()
    for name, count in values(scraped.protocol["traps"]).items():
        assert 0 < count <= recorded[scraped.protocol[name]]
    found = [finding for finding in catalogue.run(trace) if finding.verdict == "livelock"]
    assert [finding.subject and finding.subject.tgid for finding in found] == [scraped.protocol["frozen"]]


def test_top_shows_the_same_two_vms_and_ends(scraped: Scenario) -> None:
    top = scraped.protocol["top"]
    assert top["status"] == 0, top["stderr"]
    looks = [json.loads(line) for line in top["lines"]]
    assert len(looks) == 3
    verdicts = {vm["name"]: vm["verdict"] for vm in looks[-1]["vms"]}
    assert set(verdicts) == {"frozen", "healthy"}
    assert verdicts["frozen"] == "livelock"
    assert verdicts["healthy"] != "livelock"
