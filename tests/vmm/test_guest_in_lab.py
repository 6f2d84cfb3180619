"""The guests under stock kernels that trap split locks: the livelock, its control, and the three ways out."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lab

CHECKOUT = Path(__file__).parents[2]

# Timers far from the kernel's sleep, which lasts 8 to 16 ms by kernel version.
SCRIPT = """
run() { python3 -m sldtrace guest run --duration 300ms --json "$@" > /tmp/one.json || exit 1
        python3 -c 'import json; print(json.dumps(json.load(open("/tmp/one.json"))))'; }
run --timeout 1ms
run --timeout 30ms
run --timeout 1ms --guest aligned-bts
echo 0 > /proc/sys/kernel/split_lock_mitigate
run --timeout 1ms
"""


def lab(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "lab", "run", "--quiet", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "sid"])
def test_a_timer_shorter_than_the_sleep_starves_the_guest(kernel: str) -> None:
    result = lab("--kernel", kernel, "--", "sh", "-c", SCRIPT)
    assert result.returncode == 0, result.stderr
    short, long, aligned, unmitigated = results(result.stdout)
    for one in (short, long, aligned, unmitigated):
        assert one["kvm_runs"] == one["eintr"] > 0
        assert one["split_lock_detection"]["mode"] == "warn"
    assert short["loops"] == 0
    assert short["rip"] == short["locked_address"]
    # The monitor's own time between two KVM_RUN stays below a fifth of the timer's millisecond.
    assert short["kvm_runs"] > 250
    assert min(one["loops"] for one in (long, aligned, unmitigated)) > 0


def test_fatal_mode_is_explained() -> None:
    result = lab("--split-lock-detect", "fatal", "--", "sh", "-c", "python3 -m sldtrace guest run 2>&1")
    assert result.returncode == 1
    assert "with SIGBUS" in result.stdout
    assert "split_lock_detect=fatal" in result.stdout
    assert "Traceback" not in result.stdout


def results(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
