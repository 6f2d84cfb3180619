"""VMs by their KVM descriptors, in a /proc made up and on this machine."""

import os
from pathlib import Path

import pytest

from sldtrace.host.vms import scan
from sldtrace.host.vms.scan import VcpuThread
from sldtrace.vmm import guests
from sldtrace.vmm.machine import Machine
from tests.host import fakeproc

VM, VCPU = b"anon_inode:kvm-vm", b"anon_inode:kvm-vcpu:%d"


def test_a_vm_with_its_threads(tmp_path: Path) -> None:
    fakeproc.process(tmp_path, 77, b"qemu-system-x86", None, cmdline=[b"qemu", b"-name", b"web01"])
    fakeproc.descriptors(tmp_path, 77, [b"/dev/kvm", VM, VCPU % 1, VCPU % 0, b"socket:[1]"])
    for tid, comm in ((77, b"qemu-system-x86"), (80, b"CPU 1/KVM"), (79, b"CPU 0/KVM"), (81, b"vnc_worker")):
        fakeproc.thread(tmp_path, 77, tid, comm)
    (found,) = scan.scan(tmp_path)
    assert (found.tgid, found.vcpus, found.certain) == (77, (0, 1), True)
    assert found.threads == (VcpuThread(79, "CPU 0/KVM", 0), VcpuThread(80, "CPU 1/KVM", 1))
    assert (found.description["vmm"], found.description["vm"]["name"]) == ("qemu", "web01")


def test_an_unknown_vmm(tmp_path: Path) -> None:
    fakeproc.process(tmp_path, 5, b"my-monitor", None)
    fakeproc.descriptors(tmp_path, 5, [VM, b"anon_inode:kvm-vcpu"])
    (found,) = scan.scan(tmp_path)
    assert (found.tgid, found.vcpus, found.threads, found.certain) == (5, (), (), True)
    assert found.description["vmm"] is None


def test_no_vm(tmp_path: Path) -> None:
    """A program that has /dev/kvm open only, statistics, names that look alike, a VMM that has none."""
    links = [
        b"/dev/kvm",
        b"anon_inode:kvm-vm-stats",
        b"anon_inode:kvm-vcpu-stats:0",
        b"/tmp/anon_inode:kvm-vm",
    ]
    for tgid, held in ((10, links), (9, []), (8, [b"anon_inode:[eventfd]"])):
        fakeproc.process(tmp_path, tgid, b"qemu-system-x86", None)
        fakeproc.descriptors(tmp_path, tgid, held)
    fakeproc.process(tmp_path, 7, b"gone", None)
    (tmp_path / "self").mkdir()
    (tmp_path / "\u0663").mkdir()
    assert scan.scan(tmp_path) == []


def test_without_the_right_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakeproc.process(tmp_path, 77, b"qemu-system-x86", None)
    fakeproc.process(tmp_path, 78, b"bash", None)
    for tgid in (77, 78):
        fakeproc.descriptors(tmp_path, tgid, [VM])
    listdir = os.listdir

    def refuse(path: Path) -> list[str]:
        if path.name == "fd":
            raise PermissionError
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    (found,) = scan.scan(tmp_path)
    assert (found.tgid, found.vcpus, found.certain) == (77, (), False)


def test_in_the_order_of_numbers(tmp_path: Path) -> None:
    for tgid in (100, 9):
        fakeproc.process(tmp_path, tgid, b"x", None)
        fakeproc.descriptors(tmp_path, tgid, [VM])
    assert [each.tgid for each in scan.scan(tmp_path)] == [9, 100]


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="needs /dev/kvm")
def test_a_machine_of_this_process() -> None:
    def mine() -> list[scan.VirtualMachine]:
        return [each for each in scan.scan() if each.tgid == os.getpid()]

    assert mine() == []
    with Machine(guests.load("split-bts")):
        (found,) = mine()
        assert (found.vcpus, found.certain) == ((0,), True)
    assert mine() == []
