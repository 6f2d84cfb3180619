"""What is asked of every kernel: both ways to attach, each with three guests, judged outside by the tests."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from tests.integration.observing import (
    MITIGATE,
    SLDTRACE,
    Counter,
    Protocol,
    Recorder,
    attached,
    guest,
    hidden,
    probe,
    start_guest,
)


def frozen_and_healthy(folder: Path, name: str, *options: str, stop: str = "INT") -> Protocol:
    """One recording of three guests: 1 ms timer; 20 ms timer; 1 ms timer with the penalty switched off."""
    recorder = Recorder(folder / f"{name}.sld", *options, stop=stop)
    with Counter() as counter, recorder:
        guests = {"frozen": guest("1ms", "2s"), "alive": guest("20ms", "1s")}
        MITIGATE.write_text("0")
        guests["not_penalized"] = guest("1ms", "400ms")
        MITIGATE.write_text("1")
        counted = counter.read()
        during = attached()
        resources = recorder.resources()
    return recorder.protocol | {
        "guests": guests,
        "counted": counted,
        "attached": during,
        "resources": resources,
    }


def check() -> Protocol:
    """What `check` says of this host beside a guest with a timer, which is stopped lest it take the CPU."""
    frozen, pid, _ = start_guest()
    try:
        time.sleep(0.2)
        os.kill(pid, signal.SIGSTOP)
        command = [*SLDTRACE, "check", "--format=json", "--fail-on", "exposed"]
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        frozen.kill()
        frozen.wait()
    said = json.loads(done.stdout)
    return {"pid": pid, "status": done.returncode, "stderr": done.stderr, "said": said}


def probes() -> dict[str, Protocol]:
    """With the penalty, in a VM, and without it."""
    found = {"1": probe(), "VM": probe("--vm")}
    MITIGATE.write_text("0")
    found["0"] = probe()
    MITIGATE.write_text("1")
    return found


def run(folder: Path) -> Protocol:
    """The protocol of this part."""
    protocol = {"fentry": frozen_and_healthy(folder, "fentry")}
    with hidden("/sys/kernel/btf"):
        protocol["kprobe"] = frozen_and_healthy(folder, "kprobe", stop="TERM")
    with (folder / "kernel.log").open("w") as log:
        subprocess.run(["dmesg"], stdout=log, check=True)
    survey = subprocess.run([*SLDTRACE, "log", "--format=json"], capture_output=True, text=True, check=True)
    return protocol | {"log": json.loads(survey.stdout), "check": check(), "probe": probes()}
