"""A recorder beside VMs and programs that come and go: an hour of a busy host's lives in ten minutes.

Runs only when it is asked for: test_soak.py says how.
"""

import itertools
import os
import time
from pathlib import Path

from tests.integration.observing import FREE, TRACEFS, Protocol, Recorder, define, guest_here, start_guest

LASTS_S = 600.0  # of the machine
KEPT = ("--keep", "30s", *FREE)
SHORT = ("--timeout", "1ms", "--duration", "50ms")
LIVES = (
    (*SHORT,),
    ("split-xchg", "--program", "--kick", "itimer", *SHORT),
    ("--vcpus", "4", *SHORT),
    ("--vms", "3", "--timeout", "25ms", "--duration", "100ms"),
    ("split-xchg", "--program", "--duration", "50ms"),
)
"""Options of `guest run`, of which each is another process, or several."""
_COUNTER = "counter/penalties"


def run(folder: Path) -> Protocol:
    """The protocol of this part: what was started, and every few lives the memory of the recorder."""
    define(f"p:{_COUNTER} split_lock_warn\n")
    enable = TRACEFS / "events" / _COUNTER / "enable"
    enable.write_text("1")
    recorder = Recorder(folder / "soak.sld", *KEPT)
    memory, disk, statuses = [], [], []
    with recorder:
        end = time.monotonic() + LASTS_S
        for number, options in enumerate(itertools.cycle(LIVES)):
            statuses.append(guest_here(*options)["status"])
            if number % 50 == 49:
                killed()
            if recorder.process.poll() is not None:
                break  # its status and what it printed say why
            if number % 10 == 9:
                memory.append(recorder.resources()["memory"])
                disk.append(os.stat(recorder.path).st_blocks * 512)
            if time.monotonic() > end:
                break
        time.sleep(1)
        counted = hits()
    enable.write_text("0")
    define(f"-:{_COUNTER}\n")
    return recorder.protocol | {
        "memory": memory,
        "disk": disk,
        "statuses": statuses,
        "counted": counted,
    }


def killed() -> None:
    """A VM whose process ends by SIGKILL, most likely in a penalty."""
    process, pid, _ = start_guest()
    os.kill(pid, 9)
    process.wait()


def hits() -> dict[str, int]:
    """How often the kernel entered split_lock_warn, and how often its count was skipped."""
    for line in (TRACEFS / "kprobe_profile").read_text().splitlines():
        name, found, missed = line.split()
        if name == _COUNTER.split("/")[1]:
            return {"hits": int(found), "missed": int(missed)}
    raise LookupError("no profile of the kprobe event")
