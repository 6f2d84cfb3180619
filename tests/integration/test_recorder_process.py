"""The recorder's process in production: its size and rights, and that nothing of it stays."""

import pytest

from sldtrace.host.access import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN
from tests.conftest import Scenario

pytestmark = [
    pytest.mark.lab,
    pytest.mark.every_kernel("which capabilities attach probes, and what stays attached"),
]

CAPABILITIES = CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF


def test_the_recorder_is_small_and_has_no_compiler(production: Scenario) -> None:
    for when in ("before", "after"):
        resources = production.protocol["resources"][when]
        assert 10_000 < resources["memory"] <= 60 * 1024
        assert resources["compiler"] == []
        assert resources["mode"] == "0o600"


def test_the_recorder_has_given_up_its_rights(production: Scenario) -> None:
    """The lab's perf_event_paranoid is Debian's 3, for which CAP_SYS_ADMIN is needed to attach."""
    resources = production.protocol["resources"]["after"]
    assert resources["no new privileges"] == 1
    held = resources["capabilities"]
    assert held["CapInh"] == 0
    for name in ("CapEff", "CapPrm", "CapBnd"):
        assert {bit for bit in range(64) if held[name] >> bit & 1} == set(CAPABILITIES)


def test_the_service_manager_is_notified(production: Scenario) -> None:
    first, later = production.protocol["notified"]
    assert first[0].startswith("READY=1\nSTATUS=recording to ")
    assert 2 <= later.count("WATCHDOG=1") <= 6


def test_nothing_stays(production: Scenario) -> None:
    assert production.protocol["status"] == 0
    assert production.protocol["left"]["after"] == production.protocol["left"]["before"]
