"""The same instruction in a virtual machine of the bundled monitor, timed by the guest itself."""

import ctypes
import errno
from typing import Literal

from sldtrace.host.exits import UserExit
from sldtrace.litmus.code import IMAGE, LINE
from sldtrace.text.phrases import address
from sldtrace.vmm import exits, kvm, libc, memory
from sldtrace.vmm.abi import Request
from sldtrace.vmm.guests import Guest
from sldtrace.vmm.machine import Machine

# code.IMAGE without its `ret`; `out %eax, $0x5d`, which leaves KVM_RUN (guests/abi.inc); a jump to the start.
_BODY = IMAGE[:-1] + bytes.fromhex("e75d")
_IMAGE = _BODY + bytes.fromhex("e9") + (-len(_BODY) - 5).to_bytes(4, "little", signed=True)
_LOCKED = IMAGE.index(bytes.fromhex("f0ff07"))

_SPLIT = memory.OPERAND + LINE - 2  # two bytes of the doubleword are in the next line
_RESULTS = memory.COUNTER


class VmLock:
    """As code.Lock, in a guest: what a VM on this host gets. A context manager.

    A VM belongs to the process that made it: use it there. Raises SldtraceError, with a hint, without KVM.
    """

    def __init__(self) -> None:
        guest = Guest(
            name="timed-lock",
            summary="one locked increment between two reads of the time-stamp counter",
            notes=(),
            image=_IMAGE,
            start=memory.CODE,
            locked=memory.CODE + _LOCKED,
            operand=memory.OPERAND,
            width=4,
        )
        self._guest = guest
        self._machine = Machine(guest)
        self._vcpu = self._machine.vcpus[0]

    def __enter__(self) -> "VmLock":
        return self

    def __exit__(self, *_: object) -> Literal[False]:
        self._machine.close()
        return False

    def execute(self, split: bool) -> tuple[int, int]:
        """Executes the instruction once; the guest's time-stamp counter before and after it."""
        regs = self._vcpu.regs()
        regs.rdi, regs.rsi = (_SPLIT if split else memory.OPERAND), _RESULTS
        kvm.ioctl(self._vcpu.fd, Request.SET_REGS, ctypes.byref(regs))
        while libc.ioctl(self._vcpu.fd, Request.RUN, None) < 0:
            error = ctypes.get_errno()
            if error != errno.EINTR:
                where = f"KVM_RUN with the guest at {address(self._vcpu.regs().rip)}"
                raise libc.failure(where, "see the kernel log", error)
        state = self._vcpu.state()
        if state.exit_reason != UserExit.IO:
            raise exits.unexpected(state, self._vcpu.regs().rip, self._guest.locked)
        return self._machine.memory.quadword(_RESULTS), self._machine.memory.quadword(_RESULTS + 8)

    def executed(self, split: bool) -> int:
        """How often it has been executed, as the operand counts it."""
        at = _SPLIT if split else memory.OPERAND
        low = self._machine.memory.quadword(at // 8 * 8)
        high = self._machine.memory.quadword(at // 8 * 8 + 8)
        return (low | high << 64) >> at % 8 * 8 & 0xFFFFFFFF
