"""Parts of scenario.py: guests under every kick and stressor, sweeps, a recording; judged by the tests.

stress needs two CPUs and /tmp/loop, the compiled examples/vmm/loop.c; off and fatal a machine booted so.
"""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from sldtrace import cli
from sldtrace.host import split_lock
from tests.integration.observing import Protocol, probe

LOOP = "/tmp/loop"

STRESS = {
    "timer": "--timeout 1ms --kick timer",
    "itimer": "--timeout 1ms --kick itimer",
    "tgkill": "--timeout 1ms --kick tgkill",
    "immediate-exit": "--timeout 1ms --kick immediate-exit",
    "slow timer": "--timeout 25ms --cpus 0",
    "slow tgkill": "--timeout 25ms --kick tgkill",
    "xchg": "split-xchg --timeout 1ms",
    "every offset": "split-cmpxchg --timeout 1ms --offset 57",
    "rare": "rare-split --every 1000 --timeout 1ms",
    "own #AC": "own-ac --timeout 1ms",
    "report": "report-split --timeout 25ms --every 100",
    "one operand": "split-xadd --vcpus 2 --operands shared --timeout 25ms",
    "frozen vCPUs": "--vcpus 2 --timeout 1ms",
    "moved": "--timeout 25ms --migrate 2ms --cpus 0,1",
    "slots": "--timeout 25ms --memory-slots 5ms",
    "slots, aligned": "aligned-bts --timeout 25ms --memory-slots 5ms",
    "two VMs": "--vms 2 --timeout 25ms --cpus 0,1",
    "program": "split-xchg --program --kick itimer --timeout 1ms",
    "slow program": "split-xchg --program --kick itimer --timeout 25ms",
}
FATAL = {
    "split": "",
    "rare": "rare-split --every 1000",
    "own #AC": "own-ac",
    "aligned": "aligned-bts",
    "program": "split-xchg --program",
}
OFF = {"split": "", "two VMs": "--vms 2", "program": "split-xchg --program"}

# Milliseconds: below, at and above the penalties of all kernels (12 to 16 ms before 6.12, then 8 to 12).
TIMERS = (1, 4, 7, 12, 13, 17, 25)


def sldtrace(*arguments: str) -> Protocol:
    """Exit status, what it printed as JSON if anything, and its lines on stderr."""
    # In this process: starting another one takes the emulated machine longer than the run.
    out, said = io.StringIO(), io.StringIO()
    status: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        try:
            cli.run(list(arguments))
        except SystemExit as end:
            status = end.code
    result = json.loads(out.getvalue()) if out.getvalue() else None
    return {"status": status, "result": result, "said": said.getvalue().splitlines()}


def run(options: str) -> Protocol:
    """One short run of a guest."""
    return sldtrace("guest", "run", "--duration", "300ms", "--format=json", *options.split())


def sweep(*options: str, timers: Iterable[int] = TIMERS) -> Protocol:
    """A short run with each timer."""
    timeouts = ",".join(f"{ms}ms" for ms in timers)
    return sldtrace(
        "guest", "sweep", "--timeouts", timeouts, "--duration", "300ms", "--format=json", *options
    )


def loop(how: str) -> Protocol:
    """What the example VMM says of a run with a 1 ms tick."""
    done = subprocess.run([LOOP, how, "1"], capture_output=True, text=True)
    return {"status": done.returncode, "said": done.stdout, "error": done.stderr}


def recorded(folder: Path) -> Protocol:
    """Guest and recorder in one command; here is no pandas, so the report is made outside."""
    path = str(folder / "recorded.sld")
    # A process of its own: what stands on its standard output and error is from two processes.
    command = ["guest", "run", "--duration", "1s", "--record", path]
    done = subprocess.run([sys.executable, "-m", "sldtrace", *command], capture_output=True, text=True)
    return {"status": done.returncode, "said": done.stdout, "error": done.stderr}


def stress(folder: Path) -> Protocol:
    """Every kick and stressor, the example VMM, and a run with its recorder."""
    return {
        "runs": {name: run(options) for name, options in STRESS.items()},
        "loop": {how: loop(how) for how in ("naive", "defer", "cputime")},
        "recorded": recorded(folder),
    }


def swept(_folder: Path) -> Protocol:
    """With and without the penalty."""
    before = split_lock.read().mitigate
    found = sweep("--mitigate", "both")
    return {"sweep": found, "mitigate": {"before": before, "after": split_lock.read().mitigate}}


def off(_folder: Path) -> Protocol:
    """Where split locks do not trap, although the CPU could."""
    runs = {name: run(options) for name, options in OFF.items()}
    return {"runs": runs, "sweep": sweep(timers=(1, 7, 25)), "probe": probe()}


def fatal(_folder: Path) -> Protocol:
    """Where the first split lock kills, and what the log has of it."""
    runs = {name: run(options) for name, options in FATAL.items()}
    found = {"runs": runs, "sweep": sweep(timers=(1, 25))}
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in log.splitlines() if "split_lock trap" in line]
    return found | {"log": lines, "probe": probe(), "probe in VM": probe("--vm")}
