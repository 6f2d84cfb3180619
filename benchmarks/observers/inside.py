"""Runs in the emulated host: every guest alone, then with each observer, then alone again; writes JSON.

usage: python3 -m benchmarks.observers.inside PLAN RESULT (JSON files; for PLAN see plan.py)

It only measures; benchmarks/observer.py evaluates the result.
"""

import json
import os
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.observers import plan
from benchmarks.observers.attached import Attached, ObserverError
from benchmarks.observers.table import GuestRun, Observer
from sldtrace.vmm import guests
from sldtrace.vmm.monitor import Monitor
from sldtrace.vmm.plan import Plan as VmPlan

_WARM_S = 2.0


def run_guest(run: GuestRun) -> dict[str, Any]:
    """One run in a process of its own (which has imported everything before); what it counted."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _child(run, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        output = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"guest {run.name}: its process ended with status {status}")
    result: dict[str, Any] = json.loads(output)
    print(f"  {run.name}: {result['loops']:,} loops, {result['eintr']:,} EINTR", flush=True)
    return result


def _child(run: GuestRun, writing: int) -> NoReturn:
    status = 1
    try:
        vm = VmPlan(guests.load(run.image), int(run.seconds * 1e9), timeout_ns=run.timeout_ms * 1_000_000)
        out = Monitor(vm).run(lambda tids: None)
        (vcpu,) = out.vcpus
        counted = {"loops": vcpu.loops, "kvm_runs": vcpu.kvm_runs, "eintr": vcpu.eintr, "ran_ns": out.ran_ns}
        os.write(writing, json.dumps(counted).encode())
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)


def observed(observer: Observer, runs: list[GuestRun]) -> dict[str, Any]:
    """All guests that concern this observer, with it attached."""
    found: dict[str, Any] = {"guests": {}}
    one = Attached(observer)
    start = time.monotonic()
    try:
        with one:
            found["attach_s"] = time.monotonic() - start
            # What an observer does once, at the start, is not the cost of an exit: in the first second
            # with exits sldtrace has the kernel time its probes.
            before = one.written()
            found["first"] = {runs[0].name: run_guest(replace(runs[0], seconds=_WARM_S))}
            for run in runs:
                found["guests"][run.name] = run_guest(run)
        found |= {"written": one.written() - before, "said": one.said()[-4000:]}
    except ObserverError as error:
        found["failed"] = str(error)
        print(f"  {error}", flush=True)
    finally:
        one.discard()
    return found


def measure(wanted: plan.Plan) -> dict[str, Any]:
    """The plan, in one boot; see outcome.of for what is in the result."""
    result: dict[str, Any] = {"kernel": os.uname().release, "observers": {}, "untraced": []}

    def untraced() -> None:
        result["untraced"].append({run.name: run_guest(run) for run in wanted.guests})

    run_guest(wanted.guests[0])  # the first guest of a boot makes the kernel do things once
    print("untraced", flush=True)
    untraced()
    for observer in wanted.observers:
        print(observer.name, flush=True)
        result["observers"][observer.name] = observed(observer, wanted.runs_for(observer))
    print("untraced, again", flush=True)
    untraced()
    return result


def main() -> None:
    """From file to file."""
    wanted = plan.read(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps(measure(wanted)))


if __name__ == "__main__":
    main()
