"""What a recorder on a production host goes through, on two CPUs, in one recording of all kinds of records.

Its rings are tiny and it is stopped for 30 s, so that records of every kind are lost; its limits are so high
that it never steps back from detail by itself.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.findings import detection_on
from tests.integration.observing import (
    FREE,
    MITIGATE,
    Account,
    Protocol,
    Recorder,
    guest,
    lines_of,
    start_guest,
)

LIVES = [sys.executable, str(Path(__file__).with_name("lives.py"))]
FLOOD = (
    *("--exits", "all", "--ring-pages", "1", "--poll", "25ms"),
    *(*FREE, "--max-events-per-second", "1000000000"),
)

_CLONE3 = 435  # arch/x86/entry/syscalls/syscall_64.tbl


def life(way: str, seconds: float) -> Protocol:
    """Runs lives.py; the PID that it said, and its status."""
    process = subprocess.Popen([*LIVES, way, str(seconds)], stdout=subprocess.PIPE, text=True)
    output = lines_of(process.stdout)
    pid = int(output.readline())
    output.read()
    return {"pid": pid, "tid": pid, "status": process.wait()}


def again(pid: int, seconds: float) -> Protocol:
    """A new process of that PID (clone3, set_tid) runs lives.py."""
    wanted = (ctypes.c_int32 * 1)(pid)
    arguments = (ctypes.c_uint64 * 11)()
    arguments[4] = signal.SIGCHLD  # exit_signal
    arguments[8], arguments[9] = ctypes.addressof(wanted), 1  # set_tid, set_tid_size
    child = ctypes.CDLL(None, use_errno=True).syscall(_CLONE3, arguments, 88)
    if child < 0:
        raise OSError(ctypes.get_errno(), "clone3")
    if not child:
        os.dup2(2, 1)
        os.execv(LIVES[0], [*LIVES, "main", str(seconds)])
    _, status = os.waitpid(child, 0)
    return {"pid": child, "tid": child, "status": status}


def killed() -> Protocol:
    """A VMM that ends by SIGKILL in the middle of a penalty, where it is nearly all the time."""
    process, pid, tid = start_guest()
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    process.wait()
    return {"pid": pid, "tid": tid}


def stopped(recorder: Recorder) -> Protocol:
    """The recorder is stopped for 30 s, in which records of every kind come."""
    recorder.process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    guests = {"while stopped": guest("1ms", "1500ms", "--migrate", "2ms", "--memory-slots", "5ms")}
    MITIGATE.write_text("0")
    guests["not_penalized"] = guest("1ms", "2s")
    MITIGATE.write_text("1")
    time.sleep(max(0.0, 30 - (time.monotonic() - begin)))
    recorder.process.send_signal(signal.SIGCONT)
    time.sleep(1)
    return guests


def run(folder: Path) -> Protocol:
    """The protocol of this part."""
    path = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, Account(waits=True) as account:
        manager.bind(str(path))
        manager.settimeout(0.2)
        notify = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"}
        recorder = Recorder(folder / "flood.sld", *FLOOD, environment=notify)
        with recorder:
            notified = [heard(manager)]
            time.sleep(1.5)
            notified.append(heard(manager))
            guests = {"moved": guest("1ms", "1s", "--migrate", "5ms", "--memory-slots", "10ms")}
            guests["ports"] = guest("none", "100ms", "io-loop")
            first = life("main", 0.4)
            lives = {"first": first, "again": again(first["pid"], 0.4), "exec": life("exec", 0.4)}
            lives["query"] = life("query", 0.5)
            lives["killed"] = killed()
            clocks = [moment()]
            step(3600)
            clocks.append(moment())
            before = recorder.resources()
            guests |= stopped(recorder)
            resources = recorder.resources()
            time.sleep(0.2)  # detection is on again everywhere
            counted = account.read(folder / "flood.trace")
    path.unlink()
    return recorder.protocol | {
        "msr": at_once(),
        "guests": guests,
        "lives": lives,
        "counted": counted,
        "clocks": clocks,
        "notified": [each for each in notified if each],
        "resources": {"before": before, "after": resources},
    }


def at_once() -> dict[int, int]:
    """MSR_TEST_CTRL of both CPUs after they trapped at the same time without a penalty."""
    MITIGATE.write_text("0")
    guest("none", "500ms", "--vcpus", "2", "--cpus", "0,1")
    MITIGATE.write_text("1")
    return detection_on()


def moment() -> dict[str, int]:
    """Now, on both clocks, in ns."""
    return {"monotonic_ns": time.monotonic_ns(), "realtime_ns": time.time_ns()}


def step(seconds: float) -> None:
    """Sets the clock; the recorder has time to notice."""
    time.sleep(1.2)
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)
    time.sleep(1.2)


def heard(manager: socket.socket) -> list[str]:
    """The notifications that the service manager has received by now."""
    lines: list[str] = []
    try:
        while True:
            lines.append(manager.recv(4096).decode())
    except TimeoutError:
        return lines
