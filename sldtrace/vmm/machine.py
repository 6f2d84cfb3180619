"""A virtual machine with one vCPU in 64-bit mode, by ioctls on /dev/kvm."""

import ctypes
import errno
import mmap
import os
import platform
from types import TracebackType
from typing import Any, Self

from sldtrace.errors import SldtraceError
from sldtrace.vmm import abi, libc, memory
from sldtrace.vmm.abi import Request
from sldtrace.vmm.guests import Guest

DEVICE = "/dev/kvm"

_NO_MODULE = "load kvm_intel (or kvm_amd); the firmware may have switched virtualization off"
_ODD_KVM = "this KVM lacks what every 64-bit guest needs: use a bare-metal host or another kernel"

# What the errno of a refused open or ioctl means to the user (Documentation/virt/kvm/api.rst).
_HINTS = {
    errno.ENOENT: "load kvm_intel (or kvm_amd); inside a virtual machine, nested virtualization must be on",
    errno.ENODEV: _NO_MODULE,
    errno.ENXIO: _NO_MODULE,
    errno.EACCES: "run as root, or as a member of the group that owns it (usually kvm)",
    errno.EPERM: "a container or a security module refuses it: allow the device there",
    errno.EBUSY: "another hypervisor (VirtualBox, VMware) may hold the processor's virtualization",
    errno.ENOMEM: "the host has no memory for another virtual machine",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EINVAL: _ODD_KVM,
    errno.ENOTTY: f"{DEVICE} is not KVM, or one that is too old",
    errno.EOPNOTSUPP: _ODD_KVM,
}

# Three pages below the firmware, as Documentation/virt/kvm/api.rst, 4.33 KVM_SET_TSS_ADDR, demands on Intel.
_TSS_ADDRESS = 0xFFFBD000

# Control registers of 64-bit mode (Intel SDM volume 3, 2.5 and 10.8.5): protection, x87 as every OS sets it,
# write protection, paging; physical-address extension; long mode enabled and active.
_CR0 = 1 << 31 | 1 << 16 | 1 << 5 | 1 << 4 | 1 << 1 | 1 << 0
_CR4 = 1 << 5
_EFER = 1 << 10 | 1 << 8
_RFLAGS = 1 << 1  # the bit that is always set; interrupts off


class Machine:
    """The VM of one guest: memory, vCPU 0 in long mode at the guest's first instruction. A context manager.

    Raises SldtraceError, with what to do, wherever KVM or the host refuses.
    """

    def __init__(self, guest: Guest) -> None:
        self._descriptors: list[int] = []
        self._shared: mmap.mmap | None = None
        self.memory = memory.GuestMemory()
        try:
            kvm = self._open_device()
            self._vm = self._ioctl(kvm, Request.CREATE_VM, 0)
            self._descriptors.append(self._vm)
            self._set_memory(kvm, guest)
            self.vcpu = self._ioctl(self._vm, Request.CREATE_VCPU, 0)
            self._descriptors.append(self.vcpu)
            self._map_run(kvm)
            self._set_cpuid(kvm)
            self._set_registers(guest)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def set_signal_mask(self, sigset: int) -> None:
        """KVM_SET_SIGNAL_MASK: the signals (bit n - 1 for signal n) that are blocked inside KVM_RUN."""
        mask = abi.SignalMask(abi.SignalMaskHead(ctypes.sizeof(ctypes.c_uint64)), sigset)
        self._ioctl(self.vcpu, Request.SET_SIGNAL_MASK, ctypes.byref(mask))

    def regs(self) -> abi.Regs:
        """The vCPU's general registers, RIP and RFLAGS (KVM_GET_REGS)."""
        regs = abi.Regs()
        self._ioctl(self.vcpu, Request.GET_REGS, ctypes.byref(regs))
        return regs

    def exit(self) -> abi.Run:
        """The vCPU's kvm_run itself, why the last KVM_RUN returned; not to be kept beyond close().

        Raises ValueError after close().
        """
        if self._shared is None:
            raise ValueError("the machine is closed")
        # By its address: an exported buffer would keep the mapping from being closed.
        return abi.Run.from_address(ctypes.addressof(ctypes.c_char.from_buffer(self._shared)))

    def close(self) -> None:
        """Ends the VM and gives everything back. May be called twice."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None
        while self._descriptors:
            os.close(self._descriptors.pop())
        self.memory.close()

    @staticmethod
    def _ioctl(fd: int, request: Request, argument: Any) -> int:
        result: int = libc.ioctl(fd, request, argument)
        if result < 0:
            raise libc.failure(f"KVM_{request.name}", _HINTS.get(ctypes.get_errno()))
        return result

    def _open_device(self) -> int:
        if platform.machine() != "x86_64":
            raise SldtraceError(f"the guests are x86-64, this host is {platform.machine()}")
        try:
            kvm = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SldtraceError(f"cannot open {DEVICE}: {reason}", _HINTS.get(error.errno or 0)) from error
        self._descriptors.append(kvm)
        version = self._ioctl(kvm, Request.GET_API_VERSION, 0)
        if version != abi.API_VERSION:
            raise SldtraceError(f"KVM has API version {version}, not {abi.API_VERSION}", _ODD_KVM)
        for name, capability in (("USER_MEMORY", abi.CAP_USER_MEMORY), ("EXT_CPUID", abi.CAP_EXT_CPUID)):
            if not self._ioctl(kvm, Request.CHECK_EXTENSION, capability):
                raise SldtraceError(f"KVM lacks KVM_CAP_{name}", _ODD_KVM)
        return kvm

    def _set_memory(self, kvm: int, guest: Guest) -> None:
        self.memory.load(guest.image)
        if self._ioctl(kvm, Request.CHECK_EXTENSION, abi.CAP_SET_TSS_ADDR):
            self._ioctl(self._vm, Request.SET_TSS_ADDR, _TSS_ADDRESS)
        region = abi.UserspaceMemoryRegion(memory_size=memory.SIZE, userspace_addr=self.memory.address())
        self._ioctl(self._vm, Request.SET_USER_MEMORY_REGION, ctypes.byref(region))

    def _map_run(self, kvm: int) -> None:
        size = self._ioctl(kvm, Request.GET_VCPU_MMAP_SIZE, 0)
        try:
            self._shared = mmap.mmap(self.vcpu, size)
        except (OSError, ValueError) as error:
            raise SldtraceError(f"the vCPU's kvm_run cannot be mapped: {error}", _ODD_KVM) from error

    def _set_cpuid(self, kvm: int) -> None:
        # Before the registers: since Linux 7.x KVM_SET_SREGS refuses EFER bits that the guest's CPUID lacks.
        cpuid = abi.Cpuid2(abi.Cpuid2Head(nent=abi.Cpuid2.MAX_ENTRIES))
        self._ioctl(kvm, Request.GET_SUPPORTED_CPUID, ctypes.byref(cpuid))
        self._ioctl(self.vcpu, Request.SET_CPUID2, ctypes.byref(cpuid))

    def _set_registers(self, guest: Guest) -> None:
        sregs = abi.Sregs()
        self._ioctl(self.vcpu, Request.GET_SREGS, ctypes.byref(sregs))
        sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer = _CR0, memory.PML4, _CR4, _EFER
        # Types: code, execute/read, accessed; data, read/write, accessed (Intel SDM volume 3, table 3-1).
        flat = {"limit": 0xFFFFFFFF, "present": 1, "s": 1, "g": 1}
        sregs.cs = abi.Segment(selector=1 << 3, type=11, l=1, **flat)
        for name in ("ds", "es", "fs", "gs", "ss"):
            setattr(sregs, name, abi.Segment(selector=2 << 3, type=3, db=1, **flat))
        self._ioctl(self.vcpu, Request.SET_SREGS, ctypes.byref(sregs))
        regs = abi.Regs(
            rip=guest.start,
            rflags=_RFLAGS,
            rsp=memory.STACK_TOP,
            rdi=0,
            rsi=guest.operand,
            rdx=memory.COUNTER,
        )
        self._ioctl(self.vcpu, Request.SET_REGS, ctypes.byref(regs))
