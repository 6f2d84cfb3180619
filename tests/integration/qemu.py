"""VMs of QEMU in the emulated host, with the firmware of this folder, and their progress from outside."""

import json
import mmap
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.integration import firmware
from tests.integration.firmware import Counters, Settings
from tests.integration.observing import Protocol

_MEGABYTES = 16
_PROMPT = b"(qemu) "
_CGROUPS = Path("/sys/fs/cgroup")
_Q = TypeVar("_Q", bound="Qemu")


class Qemu:
    """A VM: within `with` it runs. Its command line is as libvirt's.

    machine: QEMU's -machine without accel and memory, which has `megabytes`, in a file that is mapped as
    `memory`. options: more of the command line. cpu_max: of the cgroup that QEMU is in, which is named as
    libvirt names it; None: it is in that of this process. folder: for its files.
    """

    def __init__(
        self, name: str, machine: str, megabytes: int, *options: str, cpu_max: str | None = None
    ) -> None:
        self.name, self._cpu_max = name, cpu_max
        self.folder = Path("/tmp") / name
        self.folder.mkdir()
        self._qmp_path, self._hmp_path = self.folder / "qmp", self.folder / "monitor"
        memory, size = self.folder / "memory", megabytes << 20
        with memory.open("wb") as file:
            file.truncate(size)
        with memory.open("rb") as file:
            self.memory = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
        self.command = [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
            *("-name", f"guest={name},debug-threads=on", "-cpu", "qemu64", "-m", str(megabytes)),
            *("-machine", f"{machine},accel=kvm,memory-backend=ram"),
            *("-object", f"memory-backend-file,id=ram,size={size},mem-path={memory},share=on"),
            *("-qmp", f"unix:{self._qmp_path},server=on,wait=off"),
            *("-monitor", f"unix:{self._hmp_path},server=on,wait=off"),
            *options,
        ]

    def loops(self) -> list[int]:
        """How many loops each vCPU has done so far."""
        raise NotImplementedError

    def __enter__(self: _Q) -> _Q:
        self._process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        self._qmp, self._hmp = self._connected(self._qmp_path), self._connected(self._hmp_path)
        self._replies = self._qmp.makefile("r")
        self._replies.readline()
        self.qmp("qmp_capabilities")
        self._printed()
        self.tids = [each["thread-id"] for each in self.qmp("query-cpus-fast")]
        if self._cpu_max:
            self._confine(self._cpu_max)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self.said = self._process.communicate()[1]

    def _connected(self, path: Path) -> socket.socket:
        """A socket of QEMU's, once it listens there."""
        deadline = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                found = socket.socket(socket.AF_UNIX)
                found.connect(str(path))
                return found
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(
            f"{self.name}: {self._process.communicate()[1] if self._process.poll() else 'hangs'}"
        )

    def _confine(self, cpu_max: str) -> None:
        group = _CGROUPS / "machine.slice" / rf"machine-qemu\x2d1\x2d{self.name}.scope"
        group.mkdir(parents=True, exist_ok=True)
        for parent in (_CGROUPS, group.parent):
            (parent / "cgroup.subtree_control").write_text("+cpu")
        (group / "cpu.max").write_text(cpu_max)
        (group / "cgroup.procs").write_text(str(self.pid))

    def qmp(self, command: str, **arguments: Any) -> Any:
        """What QEMU returns for a command of its monitor."""
        self._qmp.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        for line in self._replies:
            reply = json.loads(line)
            if "error" in reply:
                raise RuntimeError(f"{command}: {reply['error']['desc']}")
            if "return" in reply:
                return reply["return"]
        raise RuntimeError(f"{self.name}: no reply to {command}")

    def hmp(self, line: str) -> str:
        """What QEMU prints for a command of its monitor for people."""
        self._hmp.sendall(f"{line}\n".encode())
        return self._printed()

    def _printed(self) -> str:
        printed = b""
        while not printed.endswith(_PROMPT):
            if not (more := self._hmp.recv(65536)):
                raise RuntimeError(f"{self.name}: no reply after {printed!r}")
            printed += more
        return printed.decode(errors="replace")


class Vm(Qemu):
    """A VM with the firmware, whose loops are counted in its memory."""

    def __init__(
        self, name: str, settings: Settings, machine: str, *options: str, cpu_max: str | None = None
    ) -> None:
        self.settings = settings
        super().__init__(name, machine, _MEGABYTES, "-smp", str(settings.vcpus), *options, cpu_max=cpu_max)
        bios = self.folder / "bios"
        bios.write_bytes(settings.written(firmware.ASSEMBLED.read_bytes()))
        self.command += ["-bios", str(bios)]

    def counters(self) -> list[Counters]:
        """What each vCPU has done, read from the VM's memory: QEMU and the vCPUs do not notice it."""
        data = self.memory[: firmware.DATA_END]
        return [firmware.counters(data, vcpu) for vcpu in range(self.settings.vcpus)]

    def loops(self) -> list[int]:
        """See Qemu.loops."""
        return [each.loops for each in self.counters()]


class Watch:
    """The truth about VMs: samples of the vCPUs' loops, within `with`.

    samples: for each VM [CLOCK_MONOTONIC in ns, loops of each vCPU...], every 10 ms.
    """

    def __init__(self, *vms: Qemu) -> None:
        self._vms = vms
        self._ended = threading.Event()
        self.samples: dict[str, list[list[int]]] = {vm.name: [] for vm in vms}

    def __enter__(self) -> "Watch":
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._ended.wait(0.01):
            for vm in self._vms:
                self.samples[vm.name].append([time.monotonic_ns(), *vm.loops()])

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def polled(vm: Qemu, line: str, every: float) -> Iterator[Protocol]:
    """Another thread gives that command to QEMU's monitor all the time, with a pause of `every` seconds."""
    ended, protocol = threading.Event(), Protocol(polls=0)

    def poll() -> None:
        while not ended.wait(every):
            vm.hmp(line)
            protocol["polls"] += 1

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield protocol
    finally:
        ended.set()
        thread.join()
