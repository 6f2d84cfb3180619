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
from typing import Any, Self

from tests.integration import firmware
from tests.integration.firmware import Counters, Settings
from tests.integration.observing import Protocol

_MEMORY = 16 << 20
_PROMPT = b"(qemu) "
_CGROUPS = Path("/sys/fs/cgroup")


class Vm:
    """A VM: within `with` it runs. Its command line is as libvirt's.

    machine: QEMU's -machine without accel. cpu_max: of the cgroup that QEMU is in, which is named as libvirt
    names it; None: it is in that of this process. options: more of the command line.
    """

    def __init__(
        self, name: str, settings: Settings, machine: str, *options: str, cpu_max: str | None = None
    ) -> None:
        self.name, self.settings, self._cpu_max = name, settings, cpu_max
        folder = Path("/tmp") / name
        folder.mkdir()
        bios, memory, self._qmp_path, self._hmp_path = (
            folder / each for each in ("bios", "memory", "qmp", "monitor")
        )
        bios.write_bytes(settings.written(firmware.ASSEMBLED.read_bytes()))
        with memory.open("wb") as file:
            file.truncate(_MEMORY)
        with memory.open("rb") as file:
            self._memory = mmap.mmap(file.fileno(), _MEMORY, prot=mmap.PROT_READ)
        self.command = [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
            *("-name", f"guest={name},debug-threads=on", "-cpu", "qemu64", "-m", f"{_MEMORY >> 20}"),
            *("-machine", f"{machine},accel=kvm,memory-backend=ram", "-smp", str(settings.vcpus)),
            *("-object", f"memory-backend-file,id=ram,size={_MEMORY},mem-path={memory},share=on"),
            *("-bios", str(bios), "-qmp", f"unix:{self._qmp_path},server=on,wait=off"),
            *("-monitor", f"unix:{self._hmp_path},server=on,wait=off"),
            *options,
        ]

    def __enter__(self) -> Self:
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

    def counters(self) -> list[Counters]:
        """What each vCPU has done, read from the VM's memory: QEMU and the vCPUs do not notice it."""
        data = self._memory[: firmware.DATA_END]
        return [firmware.counters(data, vcpu) for vcpu in range(self.settings.vcpus)]


class Watch:
    """The truth about VMs: samples of the vCPUs' loops, within `with`.

    samples: for each VM [CLOCK_MONOTONIC in ns, loops of each vCPU...], every 10 ms.
    """

    def __init__(self, *vms: Vm) -> None:
        self._vms = vms
        self._ended = threading.Event()
        self.samples: dict[str, list[list[int]]] = {vm.name: [] for vm in vms}

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._ended.wait(0.01):
            for vm in self._vms:
                loops = [each.loops for each in vm.counters()]
                self.samples[vm.name].append([time.monotonic_ns(), *loops])

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def polled(vm: Vm, line: str, every: float) -> Iterator[Protocol]:
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
