"""The run loop of one vCPU: arm the timer, enter the guest, take the signal, until the time is over."""

import ctypes
import errno
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from sldtrace.vmm import exits, libc, signals
from sldtrace.vmm.abi import Exit, Request
from sldtrace.vmm.guests import Guest
from sldtrace.vmm.machine import Machine
from sldtrace.vmm.timers import KickTimer

# Makes the timer of a run, from the signal's number and the TID of the vCPU's thread.
TimerMaker = Callable[[int, int], KickTimer]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was counted and timed. Times are nanoseconds of CLOCK_MONOTONIC."""

    loops: int  # that the guest finished, by its own counter
    kvm_runs: int  # calls of KVM_RUN
    eintr: int  # calls of KVM_RUN that returned EINTR
    io_exits: int  # calls of KVM_RUN that returned because the guest wrote to a port
    longest_run_ns: int  # the longest call of KVM_RUN, the monitor's overhead of two clock readings included
    ran_ns: int  # from before the first call to after the last one
    rip: int  # where the guest stood at the end
    interrupted: bool  # whether SIGINT or SIGTERM ended it before the time was over


def run(machine: Machine, guest: Guest, make_timer: TimerMaker, signo: int, duration_ns: int) -> Outcome:
    """Runs vCPU 0 of `machine` in the calling thread, which must be the main thread, for `duration_ns`.

    The timer is armed before each KVM_RUN; its signal is open inside KVM_RUN only and taken after it.
    The time is looked at between calls: a run lasts up to one timeout longer. SIGINT and SIGTERM end it
    early. Raises SldtraceError if the guest leaves KVM_RUN for any other reason than a signal or a port.
    """
    now = time.monotonic_ns
    get_errno = ctypes.get_errno
    runs = eintr = io_exits = longest = 0
    deadline = 0
    ending: int | None = None  # errno of the KVM_RUN that ended the loop, 0: none; None: it ended in time
    interrupted = sigbus = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal deadline, interrupted
        deadline, interrupted = 0, True

    def note_sigbus(signum: int, frame: FrameType | None) -> None:
        nonlocal sigbus
        sigbus = True

    with (
        signals.blocked(signo) as mask,
        signals.handled(note_sigbus, signal.SIGBUS),
        signals.handled(stop, signal.SIGINT, signal.SIGTERM),
    ):
        machine.set_signal_mask(mask)
        timer = make_timer(signo, threading.get_native_id())
        try:
            # Everything that the loop needs is bound and converted here: outside KVM_RUN, an iteration is
            # six calls into C and no more, because whatever it costs lengthens the period of the timer.
            arm, drain = timer.arm, timer.drain
            enter = libc.waiting("ioctl", machine.vcpu, int(Request.RUN), None)
            state, port = machine.exit(), int(Exit.IO)
            start = now()
            if not interrupted:  # Ctrl-C may have come already; between this and the next line it cannot
                deadline = start + duration_ns
            while True:
                arm()
                before = now()
                failed = enter()
                after = now()
                runs += 1
                if after - before > longest:
                    longest = after - before
                if failed and get_errno() == errno.EINTR:
                    eintr += 1
                    drain()
                elif not failed and state.exit_reason == port:
                    io_exits += 1
                else:
                    ending = get_errno() if failed else 0
                    break
                if after >= deadline:
                    break
        finally:
            timer.close()
    rip = machine.regs().rip
    if ending == 0:
        raise exits.unexpected(state, rip, guest.locked, sigbus)
    if ending is not None:
        raise libc.failure(f"KVM_RUN with the guest at {rip:#x}", "see the kernel log", ending)
    return Outcome(machine.memory.counter(), runs, eintr, io_exits, longest, after - start, rip, interrupted)
