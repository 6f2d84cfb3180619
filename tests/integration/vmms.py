"""QEMU under the recorder, in the emulated host: VMs that freeze, are slowed, or are well.

The truth is the guests' own counters, read from the VMs' memory; what sldtrace makes of the recording is
compared with it outside.
"""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from sldtrace.host import peers
from tests.integration import enders
from tests.integration.firmware import Settings
from tests.integration.observing import Protocol, Recorder
from tests.integration.qemu import Qemu, Vm, Watch, polled

SPLIT_IRQCHIP = "pc,kernel-irqchip=split"
_BRIEF_S = 0.3
_SECONDS = 1.2
_LONG_S = 5.0  # for a comparison of two halves
_ATTACHED_S = 3  # until the last probes are attached

BESIDE = "two-vms"
"""The case in which another VM runs beside the one of its name."""

_BUSY = Settings()
_FAST = Settings(pit_hz=1000)
_SLOW = Settings(pit_hz=50)
_ALIGNED = Settings(offset=0, pit_hz=1000)


def described(vm: Qemu, watch: Watch) -> Protocol:
    """What the tests are to know of a VM."""
    return {"pid": vm.pid, "tids": vm.tids, "command": vm.command, "samples": watch.samples[vm.name]}


def run(folder: Path) -> Protocol:
    """A VM frozen by its timer since before the record; one that is well; one that is polled.

    One at a time: on one CPU a VM that is well delays QEMU's main thread, and so its signals, for longer than
    a penalty.
    """
    recorder = Recorder(folder / "vmm.sld")
    with Vm("frozen", _FAST, SPLIT_IRQCHIP) as frozen:
        # It would take the CPU from the compiler, and from what attaches the last probes. After a SIGSTOP
        # QEMU makes up for all interrupts of the PIT at once.
        frozen.qmp("stop")
        with recorder:
            time.sleep(_ATTACHED_S)
            frozen.qmp("cont")
            with Watch(frozen) as first:
                time.sleep(_SECONDS)
            frozen.qmp("stop")
            with Vm("well", _ALIGNED, SPLIT_IRQCHIP) as well, Watch(well) as second:
                time.sleep(_SECONDS / 2)
            with Vm("polled", _BUSY, "microvm") as slow, Watch(slow) as third:
                with polled(slow, "info registers", 0) as polls:
                    time.sleep(_SECONDS)
                polls["end_ns"] = time.monotonic_ns()
                time.sleep(0.4)
    vms = {
        "frozen": described(frozen, first),
        "well": described(well, second),
        "polled": described(slow, third) | polls,
    }
    return recorder.protocol | {"vms": vms}


def _polling(line: str, every: float) -> Callable[[Vm], AbstractContextManager[Protocol]]:
    return lambda vm: polled(vm, line, every)


@contextmanager
def _beside(act: Callable[[threading.Event], object]) -> Iterator[Protocol]:
    """Calls act(ended) in another thread; `ended` is set when the VM has run for its time."""
    ended, protocol = threading.Event(), Protocol()

    def keep() -> None:
        protocol["acted"] = act(ended)

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield protocol
    finally:
        ended.set()
        thread.join()


def _polled_briefly(vm: Vm) -> AbstractContextManager[Protocol]:
    """The monitor is polled for 300 ms, after as long without."""

    def act(ended: threading.Event) -> int:
        ended.wait(_BRIEF_S)
        with polled(vm, "info registers", 0) as polls:
            ended.wait(_BRIEF_S)
        return int(polls["polls"])

    return _beside(act)


def _stopped(vm: Vm) -> AbstractContextManager[Protocol]:
    """The process is stopped for longer than FROZEN_S (vmm_truth.py)."""

    def act(ended: threading.Event) -> None:
        ended.wait(_BRIEF_S)
        os.kill(vm.pid, signal.SIGSTOP)
        ended.wait(0.7)
        os.kill(vm.pid, signal.SIGCONT)

    return _beside(act)


def _traced(vm: Vm) -> AbstractContextManager[Protocol]:
    """A tracer stops vCPU 0 every two milliseconds."""
    return _beside(lambda ended: enders.trace(vm.pid, vm.tids[0], ended))


def _reset(vm: Vm) -> AbstractContextManager[Protocol]:
    """The VM is reset once."""

    def act(ended: threading.Event) -> None:
        ended.wait(_BRIEF_S)
        vm.qmp("system_reset")

    return _beside(act)


def _migrated(vm: Vm) -> AbstractContextManager[Protocol]:
    """The VM's state is written to a file while it runs, by dirty logging; then it goes on here."""

    def act(ended: threading.Event) -> str:
        ended.wait(_BRIEF_S)
        vm.qmp("migrate", uri=f"file:{vm.folder}/state")
        while (status := str(vm.qmp("query-migrate").get("status"))) in ("setup", "active", "device"):
            ended.wait(0.02)
        vm.qmp("cont")
        return status

    return _beside(act)


def _debugged(vm: Vm) -> AbstractContextManager[Protocol]:
    """A debugger stops the VM by QEMU's gdbstub every 3 ms, and continues it."""

    def act(ended: threading.Event) -> int:
        path, stops = vm.folder / "gdb", 0
        vm.hmp(f"gdbserver unix:{path},server=on,wait=off")
        with socket.socket(socket.AF_UNIX) as debugger:
            debugger.settimeout(10)
            debugger.connect(str(path))  # which stops it
            while not ended.is_set():
                debugger.sendall(b"$c#63")
                ended.wait(0.003)
                debugger.sendall(b"\x03")
                answer = b""
                while not re.search(rb"\$T.*#..$", answer):
                    answer += debugger.recv(4096)
                debugger.sendall(b"+")
                stops += 1
            debugger.sendall(b"$D#44")
            debugger.recv(4096)
        return stops

    return _beside(act)


def _beside_one_that_is_well(vm: Vm) -> AbstractContextManager[Protocol]:
    """Another VM runs at the same time, without split locks, with a fifth of the CPU in short turns.

    With more of it QEMU's main thread of the first one would wait for the CPU for longer than a penalty.
    """

    def act(ended: threading.Event) -> Protocol:
        with (
            Vm(f"beside-{vm.name}", _ALIGNED, SPLIT_IRQCHIP, cpu_max="2000 10000") as well,
            Watch(well) as watch,
        ):
            ended.wait()
        return described(well, watch)

    return _beside(act)


def _polled_less(vm: Vm) -> AbstractContextManager[Protocol]:
    """The monitor is polled without a pause, and then, as the remedy says, more than a penalty apart."""

    def act(ended: threading.Event) -> int:
        with polled(vm, "info registers", 0):
            ended.wait(_LONG_S / 2)
        changed = time.monotonic_ns()
        with polled(vm, "info registers", 0.02):
            ended.wait()
        return changed

    return _beside(act)


def _plugged(vm: Vm) -> AbstractContextManager[Protocol]:
    """A vCPU is plugged in while the VM is frozen; after a reset the firmware starts it."""

    def act(ended: threading.Event) -> list[int]:
        ended.wait(_BRIEF_S)
        (slot,) = (each for each in vm.qmp("query-hotpluggable-cpus") if "qom-path" not in each)
        vm.qmp("device_add", driver=slot["type"], id="plugged", **slot["props"])
        vm.tids = [each["thread-id"] for each in vm.qmp("query-cpus-fast")]
        ended.wait(_BRIEF_S)
        vm.qmp("system_reset")
        return vm.tids

    return _beside(act)


@dataclass(frozen=True)
class Case:
    """A VM for some time.

    name: of the VM. what: in words, what is done to it. during: makes a context manager for that time.
    options: more of QEMU's command line. seconds: how long it is.
    """

    name: str
    what: str
    machine: str = "microvm"
    settings: Settings = _BUSY
    during: Callable[[Vm], AbstractContextManager[Protocol | None]] = lambda _: nullcontext()
    cpu_max: str | None = None
    options: tuple[str, ...] = ()
    seconds: float = _SECONDS


CASES = (
    Case("microvm", "nothing"),
    Case("pc", "nothing", "pc"),
    Case("q35", "nothing", "q35"),
    Case("aligned", "no split lock; the guest's PIT at 1 kHz", SPLIT_IRQCHIP, _ALIGNED),
    Case("registers", "`info registers`, without a pause", during=_polling("info registers", 0)),
    Case("registers-3ms", "`info registers`, 3 ms after the other", during=_polling("info registers", 0.003)),
    Case(
        "registers-20ms", "`info registers`, 20 ms after the other", during=_polling("info registers", 0.02)
    ),
    Case("cpus-1ms", "`info cpus`, 1 ms after the other", during=_polling("info cpus", 0.001)),
    Case("stats-1ms", "`info stats vcpu`, 1 ms after the other", during=_polling("info stats vcpu", 0.001)),
    Case("brief", "`info registers`, without a pause, for 300 ms", during=_polled_briefly),
    Case("pc-split-1khz", "the guest's PIT at 1 kHz", SPLIT_IRQCHIP, _FAST),
    Case("q35-split-1khz", "the guest's PIT at 1 kHz", "q35,kernel-irqchip=split", _FAST),
    Case("pc-split-50hz", "the guest's PIT at 50 Hz", SPLIT_IRQCHIP, _SLOW),
    Case("pc-on-1khz", "the guest's PIT at 1 kHz", "pc,kernel-irqchip=on", _FAST),
    Case(
        "rare",
        "the guest's PIT at 1 kHz; one split lock in 5 million locks",
        SPLIT_IRQCHIP,
        Settings(pit_hz=1000, every=5_000_000),
    ),
    Case(
        "two-vcpus",
        "two vCPUs; the guest's PIT at 1 kHz, to vCPU 0",
        SPLIT_IRQCHIP,
        Settings(pit_hz=1000, vcpus=2),
    ),
    Case(
        BESIDE,
        "the guest's PIT at 1 kHz; another VM is well at the same time",
        SPLIT_IRQCHIP,
        _FAST,
        during=_beside_one_that_is_well,
    ),
    Case(
        "polled-less",
        "`info registers`, without a pause; after 2.5 s 20 ms after the other",
        during=_polled_less,
        seconds=_LONG_S,
    ),
    Case(
        "plugged",
        "the guest's PIT at 1 kHz; a vCPU is plugged in, then a reset",
        SPLIT_IRQCHIP,
        Settings(pit_hz=1000, vcpus=2),
        during=_plugged,
        options=("-smp", "1,maxcpus=2"),
    ),
    Case("reset", "the guest's PIT at 1 kHz; one reset", SPLIT_IRQCHIP, _FAST, during=_reset),
    Case("migrated", "migration to a file; then it goes on", during=_migrated),
    Case("debugged", "a debugger stops it every 3 ms (gdbstub)", during=_debugged),
    Case("stopped", "SIGSTOP, and SIGCONT 0.7 s later", during=_stopped),
    Case("traced", "a tracer stops the vCPU every 2 ms", during=_traced),
    Case(
        "quota",
        "no split lock; cpu.max is 10 ms in 100 ms",
        settings=Settings(offset=0),
        cpu_max="10000 100000",
    ),
)


def matrix(folder: Path) -> Protocol:
    """All cases, one after the other, in one recording."""
    recorder = Recorder(folder / "vmms.sld")
    with recorder:
        vms = {case.name: ran(case) for case in CASES}
    return recorder.protocol | {"vms": vms, "self": os.getpid(), "icount": _with_icount()}


def _with_icount() -> Protocol:
    """What QEMU says of -icount, which counts the guest's instructions, with KVM."""
    command = [
        "qemu-system-x86_64",
        "-machine",
        "microvm,accel=kvm",
        "-icount",
        "shift=0",
        "-display",
        "none",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return {"status": None, "said": ""}
    return {"status": done.returncode, "said": done.stderr}


def ran(case: Case) -> Protocol:
    """Runs a VM; of one that fails there is only `error`."""
    print(f"part vmms: {case.name}", flush=True)
    try:
        with (
            Vm(case.name, case.settings, case.machine, *case.options, cpu_max=case.cpu_max) as vm,
            Watch(vm) as watch,
            case.during(vm) as more,
        ):
            connected = peers.connected(vm.pid)
            time.sleep(case.seconds)
    except (OSError, RuntimeError) as error:
        return {"error": str(error)}
    return described(vm, watch) | {"connected": connected} | (more or {})
