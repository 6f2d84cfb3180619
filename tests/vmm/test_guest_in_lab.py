"""The guest in fatal mode, its control beside it; warn mode is seen in tests/integration."""

import json

import pytest

from lab import machine
from lab.job import Job
from lab.progress import Progress

pytestmark = pytest.mark.lab

SCRIPT = """
python3 -m sldtrace guest run --duration 300ms 2>&1
echo "status $?"
python3 -m sldtrace guest run --duration 300ms aligned-bts --json 2>/dev/null
"""


def test_fatal_mode_is_explained_and_the_control_runs() -> None:
    job = Job(["sh", "-c", SCRIPT], split_lock_detect="fatal")
    result = machine.run(job, Progress(quiet=True))
    said, control = result.output.decode().split("status 1\n")
    assert "the kernel killed the monitor by SIGBUS at a split lock of guest split-bts (0x4018)" in said
    assert "split_lock_detect=fatal" in said
    assert "Traceback" not in said
    aligned = json.loads(control)
    assert aligned["split_lock_detection"]["mode"] == "fatal"
    assert aligned["loops"] > 0
