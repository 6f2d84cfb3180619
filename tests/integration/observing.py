"""What the parts of the scenario share: guests, recorders, and the kernel's own counts beside them.

Runs in the emulated host. What the kernel counts here has nothing to do with sldtrace: kprobe events, hist
triggers and trace buffers of tracefs.
"""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO, Any

from sldtrace import cli

TRACEFS = Path("/sys/kernel/tracing")
MITIGATE = Path("/proc/sys/kernel/split_lock_mitigate")
Protocol = dict[str, Any]
"""JSON values that a part leaves for the tests."""

SLDTRACE = [sys.executable, "-m", "sldtrace"]
FREE = ("--max-cpu-percent", "100000")
"""For `record`: the lab's CPU is slow, and above the limit less would be recorded."""


def guest(timeout: str, duration: str, *options: str, program: Path | None = None) -> Protocol:
    """Runs a bundled guest; its result, and its VM's process. program: another name for Python."""
    command = ["guest", "run", "--timeout", timeout, "--duration", duration, "--format=json", *options]
    if not program:
        return guest_here(*command[2:])
    with subprocess.Popen([program, *SLDTRACE[1:], *command], stdout=subprocess.PIPE, text=True) as process:
        result = json.loads(lines_of(process.stdout).read())
    return {**result, "pid": result["tgid"], "status": process.returncode}


def probe(*options: str) -> Protocol:
    """What `probe` measures on this host, as a program."""
    command = [*SLDTRACE, "probe", "--livelock", "--format=json", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    return {"status": done.returncode, "stderr": done.stderr, "said": json.loads(done.stdout)}


def guest_here(*options: str) -> Protocol:
    """The same in this process: to start another one takes the emulated machine longer than the run.

    Its VM is another process all the same. Of a run without a result there are status and `said`.
    """
    out, said = io.StringIO(), io.StringIO()
    status: object = 0
    with redirect_stdout(out), redirect_stderr(said):
        try:
            cli.run(["guest", "run", "--format=json", *options])
        except SystemExit as end:
            status = end.code
    result = json.loads(out.getvalue()) if out.getvalue() else {}
    return {**result, "pid": result.get("tgid"), "status": status, "said": said.getvalue().splitlines()}


def start_guest(*options: str) -> tuple["subprocess.Popen[str]", int, int]:
    """A guest in the background: (process to terminate, PID of the VMM, TID of its vCPU)."""
    command = [*SLDTRACE, "guest", "run", "--duration", "10m", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    line = lines_of(process.stderr).readline()
    found = re.search(r"in process (\d+), threads? (\d+)", line)
    assert found, line
    return process, int(found[1]), int(found[2])


def lines_of(pipe: IO[str] | None) -> IO[str]:
    """The pipe of a process that was started with one."""
    assert pipe is not None
    return pipe


def number(pattern: str, text: str) -> int:
    """The first group of a pattern that the text must have."""
    found = re.search(pattern, text)
    assert found, text
    return int(found[1])


def define(line: str) -> None:
    """Adds to kprobe_events, which cannot be sought in, as Python's mode "a" does."""
    events = os.open(TRACEFS / "kprobe_events", os.O_WRONLY | os.O_APPEND)
    os.write(events, line.encode())
    os.close(events)


class Counter:
    """The kernel's own count of handle_guest_split_lock, by a kprobe event."""

    def __enter__(self) -> "Counter":
        define("p:counter/traps handle_guest_split_lock\n")
        (TRACEFS / "events/counter/enable").write_text("1")
        return self

    def __exit__(self, *_: object) -> None:
        (TRACEFS / "events/counter/enable").write_text("0")
        define("-:counter/traps\n")

    def read(self) -> dict[str, int]:
        """Hits and misses since `__enter__`."""
        for line in (TRACEFS / "kprobe_profile").read_text().splitlines():
            name, hits, missed = line.split()
            if name == "traps":
                return {"hits": int(hits), "missed": int(missed)}
        raise LookupError("no profile of the kprobe event")


HISTOGRAMS = {
    "kvm/kvm_exit": "hist:keys=common_pid,exit_reason",
    "kvm/kvm_userspace_exit": "hist:keys=common_pid,reason",
    "counter/traps": "hist:keys=common_pid",
    "msr/write_msr": "hist:keys=common_pid if msr == 0x33 && failed == 0",
}
TRACED = (
    "counter/traps",
    "signal/signal_generate",
    "sched/sched_migrate_task",
    "sched/sched_process_exit",
)


# Who traps, who waits for the readers of an SRCU, and who for a mutex.
WAITS = {
    "counter/penalized": "p split_lock_warn",
    "counter/srcu": "p synchronize_srcu",
    "counter/srcu_end": "r synchronize_srcu",
    "counter/expedited": "p synchronize_srcu_expedited",
    "counter/expedited_end": "r synchronize_srcu_expedited",
    "lock/contention_begin": "",
    "lock/contention_end": "",
}
MUTEX = 32  # include/trace/events/lock.h, LCB_F_MUTEX
# With a condition the stack comes after the event.
WHERE = {
    "lock/contention_begin": f"stacktrace if flags & {MUTEX}",
    "counter/srcu": "stacktrace if common_pid > 0",
    "counter/expedited": "stacktrace if common_pid > 0",
}


class Account:
    """An instance of tracefs that counts by histogram and keeps a trace, on the clock of the records.

    waits: WAITS are traced as well. also: more events that are traced, each with its filter or "".
    """

    def __init__(self, waits: bool = False, also: Mapping[str, str] | None = None) -> None:
        self.kprobes = {"counter/traps": "p handle_guest_split_lock"}
        self.filters = dict(also or {})
        self.traced = [*TRACED, *self.filters]
        if waits:
            self.kprobes |= {event: probe for event, probe in WAITS.items() if probe}
            self.traced += WAITS
        self.triggers = HISTOGRAMS | (WHERE if waits else {})

    def __enter__(self) -> "Account":
        for event, probe in self.kprobes.items():
            kind, function = probe.split()
            define(f"{kind}:{event} {function}\n")
        self.root = TRACEFS / "instances/account"
        self.root.mkdir()
        (self.root / "trace_clock").write_text("mono")
        (self.root / "buffer_size_kb").write_text("4096")
        (self.root / "options/record-tgid").write_text("1")
        for event, trigger in self.triggers.items():
            (self.root / "events" / event / "trigger").write_text(trigger)
        for event, condition in self.filters.items():
            (self.root / "events" / event / "filter").write_text(condition or "0")
        for event in self.traced:
            (self.root / "events" / event / "enable").write_text("1")
        return self

    def __exit__(self, *_: object) -> None:
        for event in self.traced:
            (self.root / "events" / event / "enable").write_text("0")
        for event, trigger in self.triggers.items():
            (self.root / "events" / event / "trigger").write_text("!" + trigger)
        self.root.rmdir()
        for event in self.kprobes:
            define(f"-:{event}\n")

    def read(self, trace: Path) -> Protocol:
        """{event: rows of keys and hits}, and what the buffer lost; its text goes to the file `trace`."""
        found: Protocol = {}
        for event in HISTOGRAMS:
            text = (self.root / "events" / event / "hist").read_text()
            found[event] = {
                "rows": [[int(each) for each in re.findall(r": *(\d+)", line)] for line in _rows(text)],
                "hits": number(r"Hits: (\d+)", text),
                "dropped": number(r"Dropped: (\d+)", text),
            }
        stats = "".join(each.read_text() for each in self.root.glob("per_cpu/cpu*/stats"))
        found["trace lost"] = sum(map(int, re.findall(r"(?:overrun|dropped events): (\d+)", stats)))
        trace.write_bytes((self.root / "trace").read_bytes())
        return found


def _rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("{")]


class Recorder:
    """`sldtrace record` in the background: within `with` it is recording."""

    def __init__(
        self,
        path: Path,
        *options: str,
        stop: str | None = "INT",
        environment: dict[str, str] | None = None,
    ) -> None:
        self.path = path
        self.command = [*SLDTRACE, "record", "-o", str(path), *options]
        self.environment = os.environ | (environment or {})
        self.stop = stop
        self.protocol: Protocol = {"command": self.command[3:], "file": path.name}

    def __enter__(self) -> "Recorder":
        self.begin()
        self.ready()
        return self

    def begin(self) -> None:
        """Starts it: it compiles now."""
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True, env=self.environment)
        self.lines: list[str] = []

    def ready(self) -> None:
        """Waits until it records."""
        for line in lines_of(self.process.stderr):
            self.lines.append(line.rstrip())
            if "recording to" in line:
                break

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None and self.stop:
            subprocess.run(["kill", f"-{self.stop}", str(self.process.pid)], check=True)
        self.end()

    def end(self) -> None:
        """Waits for its end."""
        if "status" in self.protocol:
            return
        self.lines += lines_of(self.process.stderr).read().splitlines()
        self.protocol |= {"stderr": self.lines, "status": self.process.wait()}

    def resources(self) -> Protocol:
        """What /proc says of it now: its memory (kB), its rights, and whether a compiler is mapped."""
        folder = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines())
        maps = (folder / "maps").read_text()
        return {
            "memory": int(status["VmRSS"].split()[0]),
            "capabilities": {name: int(status[name], 16) for name in sorted(status) if name[:3] == "Cap"},
            "no new privileges": int(status["NoNewPrivs"]),
            "compiler": re.findall(r"/\S*(?:bcc|LLVM|clang)\S*", maps),
            "mode": oct(self.path.stat().st_mode & 0o7777),
        }


@contextmanager
def hidden(path: str) -> Iterator[None]:
    """The folder looks empty inside `with`."""
    empty = Path("/tmp/empty")
    empty.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", empty, path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def attached() -> Protocol:
    """BPF programs, maps, links and pins, and what is in tracefs: what a recorder could leave behind."""
    found: Protocol = {}
    for what in ("prog", "map", "link"):
        show = ["bpftool", what, "show"]
        found[what] = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    found["pins"] = sorted(map(str, Path("/sys/fs/bpf").rglob("*")))
    for name in ("kprobe_events", "uprobe_events", "dynamic_events", "set_event"):
        found[name] = (TRACEFS / name).read_text()
    found["instances"] = sorted(each.name for each in (TRACEFS / "instances").iterdir())
    return found
