"""Runs in the emulated host: a guest with every timer, with the penalty and without; the kernel counts traps.

usage: timers.py FOLDER (on a machine with root, /dev/kvm, bcc and tracefs)

First one guest with a 1 ms timer is recorded; the rest runs without a recorder, which on one CPU now and
then keeps a signal from being in time. Nothing is judged here: FOLDER gets the recording and the numbers.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

MITIGATE = Path("/proc/sys/kernel/split_lock_mitigate")
TRACEFS = Path("/sys/kernel/tracing")
SLDTRACE = [sys.executable, "-m", "sldtrace"]
TIMERS_MS = [*range(1, 21), *range(22, 41, 3)]


def guest(timeout_ms: int, duration: str) -> dict[str, Any]:
    """Runs the bundled guest; what it says, and how often it trapped."""
    command = [
        *SLDTRACE,
        "guest",
        "run",
        "--timeout",
        f"{timeout_ms}ms",
        "--duration",
        duration,
        "--format",
        "json",
    ]
    before = traps()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(command)}: status {process.returncode}")
    return {**json.loads(output), "traps": traps() - before}


def traps() -> int:
    """The kernel's own count of handle_guest_split_lock."""
    for line in (TRACEFS / "kprobe_profile").read_text().splitlines():
        name, hits, missed = line.split()
        if name == "traps":
            return int(hits) + int(missed)
    sys.exit("no profile of the kprobe event")


def record(path: Path) -> None:
    """A recording of one guest with a 1 ms timer."""
    recorder = subprocess.Popen([*SLDTRACE, "record", "-o", str(path)], stderr=subprocess.PIPE, text=True)
    assert recorder.stderr
    for line in recorder.stderr:
        if "recording to" in line:
            break
    guest(1, "500ms")
    recorder.terminate()
    print(recorder.stderr.read(), end="", flush=True)
    if recorder.wait():
        sys.exit("the recording failed")


def main() -> None:
    """One recording, one table."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    # kprobe_events cannot be sought in, as Python's mode "a" does.
    events = os.open(TRACEFS / "kprobe_events", os.O_WRONLY | os.O_APPEND)
    os.write(events, b"p:counter/traps handle_guest_split_lock\n")
    os.close(events)
    (TRACEFS / "events/counter/enable").write_text("1")
    record(folder / "calibration.sld")
    rows = []
    for mitigate in (1, 0):
        MITIGATE.write_text(str(mitigate))
        for timeout_ms in TIMERS_MS:
            found = guest(timeout_ms, "1s")
            rows.append({"mitigate": mitigate} | {key: found[key] for key in KEPT})
            print(*rows[-1].values(), flush=True)
    table = {"kernel": os.uname().release, "rows": rows}
    (folder / "table.json").write_text(json.dumps(table))


KEPT = ("timeout_ns", "ran_ns", "kvm_runs", "loops", "traps")
main()
