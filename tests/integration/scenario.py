"""Runs in the emulated host: freezes guests, records them in several ways, leaves recordings and a protocol.

usage: scenario.py FOLDER PART (on a machine with root, /dev/kvm, bcc and tracefs; PART: verdicts or limits)

What it measures is judged outside, by the tests; here nothing is asserted. The traps are counted a second
time by the kernel itself, by a kprobe event in tracefs that has nothing to do with sldtrace.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
MITIGATE = Path("/proc/sys/kernel/split_lock_mitigate")
SLDTRACE = [sys.executable, "-m", "sldtrace"]


def guest(timeout, duration):
    """Runs the bundled guest; its result, and its VM's process."""
    command = [*SLDTRACE, "guest", "run", "--timeout", timeout, "--duration", duration, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        result = json.loads(process.stdout.read())
    return {**result, "pid": result["tgid"], "status": process.returncode}


class Counter:
    """The kernel's own count of handle_guest_split_lock, by a kprobe event."""

    def __enter__(self):
        self.define("p:counter/traps handle_guest_split_lock\n")
        (TRACEFS / "events/counter/enable").write_text("1")
        return self

    def __exit__(self, *_):
        (TRACEFS / "events/counter/enable").write_text("0")
        self.define("-:counter/traps\n")

    def define(self, line):
        """Adds to kprobe_events, which cannot be sought in, as Python's mode "a" does."""
        events = os.open(TRACEFS / "kprobe_events", os.O_WRONLY | os.O_APPEND)
        os.write(events, line.encode())
        os.close(events)

    def read(self):
        """Hits and misses since `__enter__`."""
        for line in (TRACEFS / "kprobe_profile").read_text().splitlines():
            name, hits, missed = line.split()
            if name == "traps":
                return {"hits": int(hits), "missed": int(missed)}
        raise LookupError("no profile of the kprobe event")


class Recorder:
    """`sldtrace record` in the background: within `with` it is recording."""

    def __init__(self, path, *options, stop="INT"):
        self.command = [*SLDTRACE, "record", "-o", str(path), *options]
        self.stop = stop
        self.protocol = {"command": self.command[3:], "file": path.name}

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        self.lines = []
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            if "recording to" in line:
                break
        return self

    def __exit__(self, *_):
        if self.process.poll() is None and self.stop:
            subprocess.run(["kill", f"-{self.stop}", str(self.process.pid)], check=True)
        self.lines += self.process.stderr.read().splitlines()
        self.protocol |= {"stderr": self.lines, "status": self.process.wait()}


@contextmanager
def hidden(path):
    """The folder looks empty meanwhile."""
    empty = Path("/tmp/empty")
    empty.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", empty, path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def frozen_and_healthy(folder, name, *options, stop="INT"):
    """One recording of three guests: 1 ms timer; 20 ms timer; 1 ms timer with the penalty switched off."""
    recorder = Recorder(folder / f"{name}.sld", *options, stop=stop)
    with Counter() as counter, recorder:
        guests = {"frozen": guest("1ms", "2s"), "alive": guest("20ms", "1s")}
        MITIGATE.write_text("0")
        guests["unpunished"] = guest("1ms", "400ms")
        MITIGATE.write_text("1")
        counted = counter.read()
        during = programs()
    return recorder.protocol | {"guests": guests, "counted": counted, "programs": during}


def flood(folder):
    """A ring of one page that is emptied twice a second: most records must be lost, and none silently."""
    recorder = Recorder(folder / "flood.sld", "--ring-pages", "1", "--poll", "500ms", "-d", "5s", stop=None)
    with Counter() as counter, recorder:
        guests = {"frozen": guest("1ms", "2s")}
        counted = counter.read()
    return recorder.protocol | {"guests": guests, "counted": counted}


def late(folder):
    """Attached to a VMM that livelocks already, and to that one only."""
    command = [*SLDTRACE, "guest", "run", "--duration", "10m"]
    frozen = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    pid, tid = map(int, re.search(r"in process (\d+), thread (\d+) ", frozen.stderr.readline()).groups())
    try:
        recorder = Recorder(folder / "late.sld", "--pid", str(pid), stop="TERM")
        with recorder:
            guests = {"other": guest("1ms", "500ms")}
            subprocess.run(["sleep", "1"], check=True)
    finally:
        frozen.terminate()
        frozen.wait()
    return recorder.protocol | {"guests": guests, "pid": pid, "tid": tid}


def refusals(folder):
    """What `record` and `guest run` say where they cannot work; each is (status, stderr)."""
    target = str(folder / "refused.sld")
    record = [*SLDTRACE, "record", "-d", "1s", "-o", target]

    def say(*command, **options):
        done = subprocess.run(command, capture_output=True, text=True, **options)
        return {"status": done.returncode, "stderr": done.stderr, "left": Path(target).exists()}

    found = {"not root": say(*record, user=65534)}
    with hidden("/sys/kernel/tracing"), hidden("/sys/kernel/debug"):
        found["no tracefs"] = say(*record)
    with hidden("/usr/lib/python3/dist-packages/bcc"):
        found["no bcc"] = say(*record)
    with hidden("/dev"):
        found["no kvm"] = say(*SLDTRACE, "guest", "run")
    Path(target).write_text("mine")
    found["exists"] = say(*record)
    Path(target).unlink()
    found["no such pid"] = say(*record, "--pid", "99999")
    found["a folder"] = say(*SLDTRACE, "record", "-d", "1s", "-o", str(folder))
    found["no folder"] = say(*SLDTRACE, "record", "-d", "1s", "-o", "/nowhere/x.sld")
    return found


def check():
    """What `check` says of this host beside a guest with a timer, which is stopped lest it take the CPU."""
    command = [*SLDTRACE, "guest", "run", "--duration", "10m"]
    frozen = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        vmm = int(re.search(r" in process (\d+)", frozen.stderr.readline())[1])
        time.sleep(0.2)
        os.kill(vmm, signal.SIGSTOP)
        command = [*SLDTRACE, "check", "--json", "--fail-on", "exposed"]
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        frozen.kill()
        frozen.wait()
    said = json.loads(done.stdout)
    return {"pid": vmm, "status": done.returncode, "stderr": done.stderr, "said": said}


def programs():
    """The BPF programs that are loaded, and the kprobe events: what a recorder could leave behind."""
    show = ["bpftool", "prog", "show"]
    loaded = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    return loaded + (TRACEFS / "kprobe_events").read_text()


def verdicts(folder):
    """What is asked of every kernel: both ways to attach, each with three guests."""
    protocol = {"fentry": frozen_and_healthy(folder, "fentry")}
    with hidden("/sys/kernel/btf"):
        protocol["kprobe"] = frozen_and_healthy(folder, "kprobe", stop="TERM")
    with (folder / "kernel.log").open("w") as log:
        subprocess.run(["dmesg"], stdout=log, check=True)
    log = subprocess.run([*SLDTRACE, "log", "--json"], capture_output=True, text=True, check=True)
    return protocol | {"log": json.loads(log.stdout), "check": check()}


def limits(folder):
    """What does not depend on the kernel: losses, attaching late, everything that can be missing."""
    return {"flood": flood(folder), "late": late(folder), "refusals": refusals(folder)}


def main():
    """One part, in one boot."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    before = programs()
    protocol = {"verdicts": verdicts, "limits": limits}[sys.argv[2]](folder)
    protocol |= {"kernel": os.uname().release, "programs": {"before": before, "after": programs()}}
    (folder / "protocol.json").write_text(json.dumps(protocol, indent=1))


main()
