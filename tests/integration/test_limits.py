"""A flooded ring, attaching late to one process, and everything that can be missing: on one kernel."""

import subprocess
import sys

import pytest

from sldtrace.analyzers import catalogue
from sldtrace.trace import load
from tests.conftest import Scenario

pytestmark = pytest.mark.lab


def test_recorded_plus_lost_is_what_the_kernel_counted(limits: Scenario) -> None:
    counted = limits.protocol["flood"]["counted"]
    trace = load(limits.folder / "flood.sld")
    lost = sum(loss.count for loss in trace.recording.losses if loss.kind == "trap")
    assert counted["missed"] == 0
    assert len(trace.traps) + lost == counted["hits"] > 1500
    assert lost > 500 < len(trace.traps) * 50
    assert trace.recording.closing is not None
    assert trace.recording.closing["seen"]["trap"] == counted["hits"]
    assert trace.recording.closing["ended_by"] == "duration"


def test_losses_are_shown_and_the_verdict_stands(limits: Scenario) -> None:
    command = [sys.executable, "-m", "sldtrace", "report", str(limits.folder / "flood.sld")]
    text = subprocess.run(command, capture_output=True, text=True).stdout
    counted = limits.protocol["flood"]["counted"]["hits"]
    assert text.startswith("LIVELOCK: vCPU 0 of python3")
    assert f"{counted:,} traps counted =" in text
    assert "trap records (ring_full)" in text


def test_attached_late_and_to_one_process(limits: Scenario) -> None:
    trace = load(limits.folder / "late.sld")
    protocol = limits.protocol["late"]
    assert set(trace.traps["tgid"]) == {protocol["pid"]}
    assert protocol["guests"]["other"]["kvm_runs"] > 100
    (finding,) = catalogue.run(trace)
    assert finding.verdict == "livelock"
    assert finding.subject.tid == protocol["tid"]
    assert trace.traps.iloc[0]["enter_ns"] - trace.span_ns[0] < 100_000_000
    assert trace.span_ns[1] - finding.end_ns < 100_000_000


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("not root", 1, "recording needs the right to trace the kernel; run it as root"),
        ("no tracefs", 1, "tracefs is not mounted; mount -t tracefs tracefs /sys/kernel/tracing"),
        ("no bcc", 1, "the Python module bcc cannot be used (not found); install it"),
        ("no kvm", 1, "/dev/kvm"),
        ("exists", 1, "refused.sld exists; use --force to overwrite it"),
        ("no such pid", 2, "there is no process 99999"),
        ("a folder", 1, "/tmp/out is a directory"),
        ("no folder", 1, "/nowhere/x.sld: No such file or directory"),
    ],
)
def test_what_is_missing_is_one_line(limits: Scenario, what: str, status: int, said: str) -> None:
    refusal = limits.protocol["refusals"][what]
    assert refusal["status"] == status
    *_, last = refusal["stderr"].splitlines()
    assert said in last
    assert last.startswith("sldtrace: ")
    assert "Traceback" not in refusal["stderr"]
    assert refusal["left"] == (what == "exists")


def test_nothing_stays_attached(limits: Scenario) -> None:
    assert limits.protocol["programs"]["after"] == limits.protocol["programs"]["before"]
