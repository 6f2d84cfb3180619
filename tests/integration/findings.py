"""Provokes every finding that can happen in this mode of the kernel, one after the other, in one recording.

The recording is in several files, and each provocation is in one of its own (`record --rotate`): compiling
the probes anew for each would take most of the time. What the host has to be like is said in PROVOCATIONS.
"""

import json
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sldtrace.host import kernel, msr, split_lock
from sldtrace.model import penalty
from sldtrace.recording.rotation import segments
from tests.integration import enders
from tests.integration.bus_locks import executed
from tests.integration.observing import FREE, MITIGATE, Protocol, Recorder, guest_here, start_guest

_FILE_S = 5  # longer than any provocation takes
_CULPRITS = ("two signals", "children", "urgent data", "task work")  # of culprits.c, all in one file
_CULPRIT_MS = 600
# Until all traps are evaluated (detector.LAG_NS, LONGEST_PAUSE_NS) and in the metrics (textfile.EVERY_NS).
_METRICS_S = 11


@dataclass(frozen=True)
class Provocation:
    """A run of a guest and what happens during it.

    options: of `guest run`; {late}: a timer that is later than any penalty's sleep; during: makes a context
    manager, which gives what else belongs into the protocol, or None; instead: runs something else.
    """

    name: str
    options: str = ""
    duration: str = "500ms"
    mitigate: int = 1
    during: Callable[[], AbstractContextManager[Protocol | None]] = nullcontext
    instead: Callable[[], Protocol] | None = None

    def run(self, late: str) -> Protocol:
        """Runs it; its protocol."""
        if self.instead is not None:
            return self.instead()
        return guest_here(*self.options.format(late=late).split(), "--duration", self.duration)


def read_msr(cpu: int) -> int:
    """MSR_TEST_CTRL of a CPU."""
    with open(f"/dev/cpu/{cpu}/msr", "rb", buffering=0) as file:
        return int.from_bytes(os.pread(file.fileno(), 8, msr.TEST_CTRL), "little")


def write_msr(cpu: int, value: int) -> None:
    """Sets MSR_TEST_CTRL of a CPU."""
    with open(f"/dev/cpu/{cpu}/msr", "wb", buffering=0) as file:
        os.pwrite(file.fileno(), struct.pack("<Q", value), msr.TEST_CTRL)


@contextmanager
def queue() -> Iterator[Protocol]:
    """A VM on CPU 1 whose vCPUs are never interrupted, and so many that one mostly holds the semaphore."""
    process, pid, _ = start_guest("--timeout", "none", "--vcpus", "12", "--cpus", "1")
    try:
        yield {"beside": pid}
    finally:
        process.terminate()
        process.communicate()


def culprits() -> Protocol:
    """Programs whose penalties something ends, one after the other; with what each says of itself."""
    cases = {}
    for case in _CULPRITS:
        command = ["/tmp/culprits", case, str(_CULPRIT_MS)]
        cases[case] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return {"status": 0, "said": [], "cases": cases, "pids": [each["pid"] for each in cases.values()]}


@contextmanager
def guardian() -> Iterator[None]:
    """Switches detection on, on CPU 0, every millisecond."""
    ended = threading.Event()

    def guard() -> None:
        while not ended.wait(0.001):
            write_msr(0, msr.DETECT)

    thread = threading.Thread(target=guard)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def real_time() -> Iterator[None]:
    """What is started now has real-time priority, so that nothing else gets its CPU."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


PROVOCATIONS = {
    "warn": (
        Provocation("loop", "--timeout 1ms"),
        Provocation("semaphore", "--timeout {late} --cpus 0", "1s", during=queue),
        Provocation(
            "program",
            "split-xchg --program --kick itimer --timeout 1ms",
        ),
        Provocation("traced", "--timeout none --cpus 0", "1s", during=enders.traced),
        Provocation("frozen", "--timeout none --cpus 0", "1s", during=enders.frozen),
        Provocation("blocked", "--timeout 2ms --cpus 0", during=enders.blocking),
        Provocation("burst", "--timeout none --cpus 0", "1s", during=enders.burst),
        Provocation("stopped", "--timeout none --cpus 0", "1s", during=enders.stopped),
        Provocation("culprits", instead=culprits),
        Provocation("starved", "--timeout none --cpus 0 --load 4", "2500ms", during=enders.starved),
        Provocation("throttled", "--timeout none --cpus 0", "2500ms", during=enders.throttled),
        Provocation("slowed", "--timeout none --cpus 0"),
        Provocation("moved", "--timeout none --cpus 0,1 --migrate 2ms"),
        Provocation("queue", "--timeout none --cpus 0,1 --vms 4"),
        Provocation(
            "slots",
            "rare-split --every 10000000 --timeout none --memory-slots 5ms --cpus 0",
            "1s",
        ),
        Provocation("own", "own-ac --timeout 1ms", "100ms"),
        Provocation("aligned", "aligned-bts --timeout 1ms", "200ms"),
        Provocation("exits", "cpuid-loop --timeout 1ms", "200ms"),
        Provocation("rare", "rare-split --every 20000000 --timeout 100ms --cpus 0", "2300ms"),
        Provocation("overloaded", "rare-split --every 5000000 --timeout 25ms --cpus 0 --load 4", "2200ms"),
        Provocation("not_penalized", "--timeout 1ms --cpus 0", mitigate=0),
        Provocation("guarded", "--timeout none --cpus 0", mitigate=0, during=guardian),
        Provocation("real time", "--timeout none --cpus 1", "1500ms", mitigate=0, during=real_time),
        Provocation(
            "two at once",
            "--timeout none --vcpus 2 --cpus 0,1",
            mitigate=0,
        ),
    ),
    "fatal": (
        Provocation("own", "own-ac --timeout 1ms", "100ms"),
        Provocation("fatal", "--timeout 1ms"),
    ),
    "off": (
        Provocation("off", "--timeout 1ms"),
        Provocation("bus locks", "--timeout none", "100ms", during=partial(executed, [3000, 20], [50])),
    ),
    "ratelimit:10": (
        Provocation("bus locks", "--timeout none", "100ms", during=partial(executed, [15, 5], [10])),
    ),
}


def run(folder: Path) -> Protocol:
    """The protocol of this part."""
    host = split_lock.read()
    penalties = penalty.for_kernel(kernel.release(), kernel.tick_ns(), mode=host.mode, mitigate=host.mitigate)
    late = f"{penalties.longest_sleep_ns // 1_000_000 + 1}ms"
    metrics = folder / "metrics.prom"
    recorder = Recorder(
        folder / "findings.sld",
        *("--exits", "counts", "--rotate", f"{_FILE_S}s", "--metrics", str(metrics), *FREE),
    )
    runs: Protocol = {}
    with recorder:
        for each in PROVOCATIONS[host.mode]:
            # A file says what the sysctl was when it began.
            MITIGATE.write_text(str(each.mitigate))
            file = next_file(recorder.path) if runs else newest(recorder.path)
            with each.during() as more:
                found = each.run(late)
            found |= {"file": file.name, "ended in": newest(recorder.path).name, "msr": detection_on()}
            runs[each.name] = found | {"mitigate": each.mitigate} | (more or {})
        time.sleep(_METRICS_S)
        written = metrics.read_text()
    MITIGATE.write_text("1")
    return recorder.protocol | {"runs": runs, "metrics": written, "metrics left": metrics.exists()}


def newest(path: Path) -> Path:
    """The file that is being written."""
    return list(segments(path).values())[-1]


def next_file(path: Path) -> Path:
    """Waits for it."""
    before, deadline = newest(path), time.monotonic() + 60
    while newest(path) == before:
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing follows {before}")
        time.sleep(0.05)
    return newest(path)


def detection_on() -> dict[int, int]:
    """MSR_TEST_CTRL of each CPU; where detection was left off, it is switched on again."""
    time.sleep(0.05)
    found = {cpu: read_msr(cpu) for cpu in sorted(os.sched_getaffinity(0))}
    for cpu, value in found.items():
        if not value & msr.DETECT and split_lock.read().mode == "warn":
            write_msr(cpu, value | msr.DETECT)
    return found
