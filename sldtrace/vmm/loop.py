"""The run loop of one vCPU: arm the timer, enter the guest, accept the signal, until it has to stop."""

import ctypes
import errno
import threading
import time
from typing import Protocol

from sldtrace.host.exits import UserExit
from sldtrace.text.phrases import address
from sldtrace.vmm import exits, libc
from sldtrace.vmm.abi import Request
from sldtrace.vmm.kicks import Kick
from sldtrace.vmm.plan import VcpuResult
from sldtrace.vmm.vcpu import Vcpu


class Watch(Protocol):
    """Checks something after each KVM_RUN."""

    checks: int
    mismatches: int
    retries: int

    def look(self) -> None:
        """Called by the vCPU's thread."""


def run(vcpu: Vcpu, locked: int, kick: Kick, stopping: threading.Event, watch: Watch | None) -> VcpuResult:
    """Runs `vcpu` in the calling thread until `stopping` is set and a KVM_RUN has ended by EINTR.

    To stop it: set `stopping`, then immediate_exit of its kvm_run, then kick it. `locked` is the guest's
    instruction under test. Returns all but the loops, which are in the guest's memory. Raises SldtraceError
    if the guest leaves KVM_RUN for any other reason than a signal or a port.
    """
    now = time.monotonic_ns
    get_errno = ctypes.get_errno
    runs = eintr = io_exits = longest = 0
    reported: ctypes.c_uint32 | None = None
    reported_ns = 0
    # Everything that the loop needs is bound and converted here: outside KVM_RUN, an iteration is six calls
    # into C, because its time adds to the period of the timer.
    arm, drain, stopped = kick.arm, kick.drain, stopping.is_set
    enter = libc.releasing_gil("ioctl", vcpu.fd, int(Request.RUN), None)
    state, port = vcpu.state(), int(UserExit.IO)
    start = now()
    while True:
        arm()
        before = now()
        failed = enter()
        after = now()
        runs += 1
        if after - before > longest:
            longest = after - before
        error = get_errno() if failed else 0
        if watch is not None:
            watch.look()
        if error == errno.EINTR:
            eintr += 1
            drain()
            if stopped():
                break
        elif not failed and state.exit_reason == port:
            io_exits += 1
            reported_ns = after - start
            if reported is None:
                reported = vcpu.output()
        else:
            rip = vcpu.regs().rip
            if failed:
                raise libc.failure(f"KVM_RUN with the guest at {address(rip)}", "see the kernel log", error)
            raise exits.unexpected(state, rip, locked)
    return VcpuResult(
        tid=threading.get_native_id(),
        loops=0,
        kvm_runs=runs,
        eintr=eintr,
        io_exits=io_exits,
        longest_run_ns=longest,
        rip=vcpu.regs().rip,
        reported=None if reported is None else reported.value,
        reported_ns=None if reported is None else reported_ns,
        cpu_checks=watch.checks if watch else 0,
        cpu_mismatches=watch.mismatches if watch else 0,
        cpu_retries=watch.retries if watch else 0,
    )
