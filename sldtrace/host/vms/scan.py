"""Finds the running VMs by the KVM descriptors of their VMMs."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sldtrace.host.vms import process
from sldtrace.host.vms.threads import vcpu_of

# virt/kvm/kvm_main.c, create_vcpu_fd and kvm_dev_ioctl_create_vm; without an index in old kernels.
_DESCRIPTOR = re.compile(r"anon_inode:kvm-(?:vm|vcpu(?::([0-9]+))?)")


@dataclass(frozen=True)
class VcpuThread:
    """A thread with the name of a vCPU thread; the name is not escaped."""

    tid: int
    comm: str
    vcpu: int


@dataclass(frozen=True)
class VirtualMachine:
    """A process that runs a VM.

    description: as host.vms.process.describe; vcpus: ids of its vCPUs by its descriptors, in order; threads:
    its threads that are named like vCPUs, by TID; certain: it holds a KVM descriptor. If not, its descriptors
    cannot be read (that takes the rights of ptrace), and only its own name says that it is a VMM.
    """

    tgid: int
    description: dict[str, Any]
    vcpus: tuple[int, ...]
    threads: tuple[VcpuThread, ...]
    certain: bool


def scan(proc: Path = Path("/proc")) -> list[VirtualMachine]:
    """The VMs of this host by TGID, as far as this process can read; without those that end in the scan."""
    found = []
    for tgid in sorted(_numbers(proc)):
        held = _descriptors(proc / str(tgid) / "fd")
        if held is not None and not held:
            continue
        description = process.describe(tgid, proc)
        if not description or (held is None and description["vmm"] is None):
            continue
        vcpus = sorted({int(vcpu) for vcpu in held or () if vcpu is not None})
        threads = tuple(_threads(proc / str(tgid) / "task"))
        found.append(VirtualMachine(tgid, description, tuple(vcpus), threads, held is not None))
    return found


# The vCPU, or None, of each KVM descriptor of a process; None if they cannot be read.
def _descriptors(folder: Path) -> list[str | None] | None:
    try:
        names = os.listdir(folder)
    except PermissionError:
        return None
    except OSError:
        return []
    found: list[str | None] = []
    for name in names:
        try:
            match = _DESCRIPTOR.fullmatch(os.readlink(folder / name))
        except OSError:
            continue
        if match:
            found.append(match[1])
    return found


def _threads(folder: Path) -> Iterator[VcpuThread]:
    for tid in sorted(_numbers(folder)):
        try:
            raw = (folder / str(tid) / "comm").read_bytes()
        except OSError:
            continue
        comm = raw.rstrip(b"\n").decode("utf-8", "backslashreplace")
        vcpu = vcpu_of(comm)
        if vcpu is not None:
            yield VcpuThread(tid, comm, vcpu)


def _numbers(folder: Path) -> list[int]:
    try:
        return [int(name) for name in os.listdir(folder) if name.isascii() and name.isdigit()]
    except OSError:
        return []
