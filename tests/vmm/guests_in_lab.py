"""Runs in the emulated host: guests under every kick and stressor; one JSON object on stdout, by name.

usage: guests_in_lab.py PART [LOOP] (warn: two CPUs, detection in the mode warn, and LOOP, the compiled
examples/vmm/loop.c; fatal). Nothing is judged here.
"""

import contextlib
import io
import json
import subprocess
import sys

from sldtrace import cli

PARTS = {
    "warn": {
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
    },
    "fatal": {
        "split": "",
        "rare": "rare-split --every 1000",
        "own #AC": "own-ac",
        "aligned": "aligned-bts",
        "program": "split-xchg --program",
    },
}


def run(options):
    """Exit status, the result if there is one, and the last line on stderr."""
    # In this process: starting another one takes the emulated machine longer than the run.
    out, said, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        try:
            cli.run(["guest", "run", "--duration", "300ms", "--json", *options.split()])
        except SystemExit as end:
            status = end.code
    result = json.loads(out.getvalue()) if out.getvalue() else None
    return {"status": status, "result": result, "said": said.getvalue().splitlines()[-1]}


def sweep():
    """The points on both sides of the penalty, with and without it."""
    out = io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(SystemExit),
    ):
        cli.run(["guest", "sweep", "--timeouts", "1ms,7ms,13ms,25ms", "--mitigate", "both", "--json"])
    return json.loads(out.getvalue())


def loop(program, how):
    """What the example VMM says of a run with a 1 ms tick."""
    done = subprocess.run([program, how, "1"], capture_output=True, text=True)
    return {"status": done.returncode, "said": done.stdout, "error": done.stderr}


found = {name: run(options) for name, options in PARTS[sys.argv[1]].items()}
log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
if len(sys.argv) > 2:
    found |= {how: loop(sys.argv[2], how) for how in ("naive", "defer", "cputime")} | {"sweep": sweep()}
print(json.dumps({"runs": found, "log": [line for line in log.splitlines() if "split_lock trap" in line]}))
