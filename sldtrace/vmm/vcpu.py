"""One vCPU: its registers in long mode at the guest's first instruction, its kvm_run, its signal mask."""

import ctypes
import mmap
import os

from sldtrace.errors import SldtraceError
from sldtrace.vmm import abi, kvm, memory
from sldtrace.vmm.abi import Request
from sldtrace.vmm.guests import Guest

# Control registers of 64-bit mode (Intel SDM volume 3, 2.5 and 10.8.5): protection, x87 as every OS sets it,
# write protection, paging; physical-address extension; long mode enabled and active.
_CR0 = 1 << 31 | 1 << 16 | 1 << 5 | 1 << 4 | 1 << 1 | 1 << 0
_CR4 = 1 << 5
_EFER = 1 << 10 | 1 << 8
_RFLAGS = 1 << 1  # the bit that is always set; interrupts off


class Vcpu:
    """vCPU `index` of the VM `vm`, about to run `guest` on the operand at `operand` (a guest's address).

    `fd` is its descriptor, for KVM_RUN. Raises SldtraceError if KVM refuses.
    """

    def __init__(self, device: int, vm: int, index: int, guest: Guest, operand: int) -> None:
        self._mapped: mmap.mmap | None = None
        size = kvm.ioctl(device, Request.GET_VCPU_MMAP_SIZE, 0)
        self.fd = kvm.ioctl(vm, Request.CREATE_VCPU, index)
        try:
            try:
                self._mapped = mmap.mmap(self.fd, size)
            except (OSError, ValueError) as error:
                raise SldtraceError(f"the vCPU's kvm_run cannot be mapped: {error}", kvm.ODD_KVM) from error
            # By its address: with an exported buffer the mapping cannot be closed.
            self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._mapped))
            self._set_cpuid(device)
            self._set_registers(index, guest, operand)
        except BaseException:
            self.close()
            raise

    def set_signal_mask(self, sigset: int) -> None:
        """KVM_SET_SIGNAL_MASK: the signals (bit n - 1 for signal n) that are blocked inside KVM_RUN."""
        mask = abi.SignalMask(abi.SignalMaskHead(ctypes.sizeof(ctypes.c_uint64)), sigset)
        kvm.ioctl(self.fd, Request.SET_SIGNAL_MASK, ctypes.byref(mask))

    def regs(self) -> abi.Regs:
        """The general registers, RIP and RFLAGS (KVM_GET_REGS); the vCPU must not be running."""
        regs = abi.Regs()
        kvm.ioctl(self.fd, Request.GET_REGS, ctypes.byref(regs))
        return regs

    def state(self) -> abi.Run:
        """kvm_run itself, not a copy: why the last KVM_RUN returned. Not valid after close()."""
        if self._mapped is None:
            raise ValueError("the vCPU is closed")
        return abi.Run.from_address(self._address)

    def output(self) -> ctypes.c_uint32:
        """The 32 bits that the guest wrote to a port last; valid after such an exit."""
        return ctypes.c_uint32.from_address(self._address + self.state().io.data_offset)

    def close(self) -> None:
        """Closes descriptor and mapping. May be called twice."""
        if self._mapped is not None:
            self._mapped.close()
            self._mapped = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _set_cpuid(self, device: int) -> None:
        # Before the registers: since Linux 7.x KVM_SET_SREGS refuses EFER bits that are not in the guest's
        # CPUID.
        cpuid = abi.Cpuid2(abi.Cpuid2Head(nent=abi.Cpuid2.MAX_ENTRIES))
        kvm.ioctl(device, Request.GET_SUPPORTED_CPUID, ctypes.byref(cpuid))
        kvm.ioctl(self.fd, Request.SET_CPUID2, ctypes.byref(cpuid))

    def _set_registers(self, index: int, guest: Guest, operand: int) -> None:
        sregs = abi.Sregs()
        kvm.ioctl(self.fd, Request.GET_SREGS, ctypes.byref(sregs))
        sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer = _CR0, memory.PML4, _CR4, _EFER
        # Types: code, execute/read, accessed; data, read/write, accessed (Intel SDM volume 3, table 3-1).
        flat = {"limit": 0xFFFFFFFF, "present": 1, "s": 1, "g": 1}
        sregs.cs = abi.Segment(selector=1 << 3, type=11, l=1, **flat)
        for name in ("ds", "es", "fs", "gs", "ss"):
            setattr(sregs, name, abi.Segment(selector=2 << 3, type=3, db=1, **flat))
        kvm.ioctl(self.fd, Request.SET_SREGS, ctypes.byref(sregs))
        regs = abi.Regs(
            rip=guest.start,
            rflags=_RFLAGS,
            rsp=memory.stack_top(index),
            rdi=0,
            rsi=operand,
            rdx=memory.counter(index),
            rcx=guest.every,
        )
        kvm.ioctl(self.fd, Request.SET_REGS, ctypes.byref(regs))
