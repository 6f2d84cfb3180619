"""A virtual machine: the guest's memory and its vCPUs, by ioctls on /dev/kvm."""

import ctypes
import mmap
import os
import time
from types import TracebackType

from sldtrace.errors import SldtraceError, UsageError
from sldtrace.vmm import abi, kvm, memory
from sldtrace.vmm.abi import Request
from sldtrace.vmm.guests import Guest
from sldtrace.vmm.vcpu import Vcpu

# Three pages below the firmware, as required on Intel (Documentation/virt/kvm/api.rst, 4.33
# KVM_SET_TSS_ADDR).
_TSS_ADDRESS = 0xFFFBD000

# The memory slot that is added and removed: after the guest's memory.
_SPARE_SLOT = 1
_SPARE_ADDRESS = 1 << 20
_SPARE_SIZE = 16 * memory.PAGE


class Machine:
    """The VM of one guest with `vcpus` vCPUs (1 to memory.MAX_VCPUS). A context manager.

    Each vCPU has its own operand unless they are `shared`. Raises UsageError if the host allows fewer
    vCPUs, SldtraceError, with a hint, if KVM or the host refuses.
    """

    def __init__(self, guest: Guest, vcpus: int = 1, shared: bool = False) -> None:
        self._descriptors: list[int] = []
        self._spare: mmap.mmap | None = None
        self.vcpus: list[Vcpu] = []
        self.memory = memory.GuestMemory()
        try:
            self.memory.load(guest.image)
            device = kvm.open_device()
            self._descriptors.append(device)
            most = kvm.most_vcpus(device)
            if vcpus > most:
                raise UsageError(f"this host allows {most} vCPUs for a VM, not {vcpus}")
            self._vm = kvm.ioctl(device, Request.CREATE_VM, 0)
            self._descriptors.append(self._vm)
            if kvm.ioctl(device, Request.CHECK_EXTENSION, abi.CAP_SET_TSS_ADDR):
                kvm.ioctl(self._vm, Request.SET_TSS_ADDR, _TSS_ADDRESS)
            self._set_slot(0, 0, memory.SIZE, self.memory.address())
            for index in range(vcpus):
                operand = guest.operand + (0 if shared else index * memory.AREA)
                self.vcpus.append(Vcpu(device, self._vm, index, guest, operand))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Machine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def toggle_slot(self, present: bool) -> int:
        """Adds (or removes) a memory slot that the guest does not use, as a VMM does for a ballooned or
        plugged device; gives the nanoseconds that KVM_SET_USER_MEMORY_REGION took.

        The kernel waits for all that read the slots (synchronize_srcu() in virt/kvm/kvm_main.c), that is,
        for vCPU threads that are inside kvm_arch_vcpu_ioctl_run() with the SRCU read lock held.
        """
        if self._spare is None:
            try:
                self._spare = mmap.mmap(-1, _SPARE_SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            except OSError as error:
                raise SldtraceError(f"no memory for another slot: {error.strerror}") from error
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._spare))
        before = time.monotonic_ns()
        self._set_slot(_SPARE_SLOT, _SPARE_ADDRESS, _SPARE_SIZE if present else 0, address)
        return time.monotonic_ns() - before

    def close(self) -> None:
        """Ends the VM and releases its resources; no vCPU may be running. May be called twice."""
        while self.vcpus:
            self.vcpus.pop().close()
        while self._descriptors:
            os.close(self._descriptors.pop())
        if self._spare is not None:
            self._spare.close()
            self._spare = None
        self.memory.close()

    def _set_slot(self, slot: int, guest_address: int, size: int, address: int) -> None:
        region = abi.UserspaceMemoryRegion(
            slot=slot, guest_phys_addr=guest_address, memory_size=size, userspace_addr=address
        )
        kvm.ioctl(self._vm, Request.SET_USER_MEMORY_REGION, ctypes.byref(region))
