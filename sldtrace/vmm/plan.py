"""The plan of one process, and its result."""

from dataclasses import dataclass

from sldtrace.vmm.guests import Guest
from sldtrace.vmm.kicks import Kind


@dataclass(frozen=True, slots=True)
class Plan:
    """One VM or one ordinary program, and its disturbances. Times are nanoseconds; 0, or None: never."""

    guest: Guest
    duration_ns: int
    timeout_ns: int = 1_000_000  # the period of the kicks
    kick: Kind = Kind.TIMER
    signo: int = 10  # SIGUSR1
    vcpus: int = 1
    shared: bool = False  # all vCPUs on one operand
    cpus: tuple[int, ...] = ()  # vCPU n is pinned to the n-th, from the beginning again; empty: not pinned
    migrate_ns: int | None = None  # pause after each move of the vCPU threads to the next of `cpus`; may be 0
    slots_ns: int = 0  # add or remove a memory slot this often
    program: bool = False  # no VM: the guest's code as an ordinary program


@dataclass(frozen=True, slots=True)
class VcpuResult:
    """The result of one vCPU thread. Times are nanoseconds of CLOCK_MONOTONIC."""

    tid: int
    loops: int  # finished loops, by the guest's own counter
    kvm_runs: int = 0  # calls of KVM_RUN
    eintr: int = 0  # calls of KVM_RUN that returned EINTR
    io_exits: int = 0  # calls of KVM_RUN that returned because the guest wrote to a port
    longest_run_ns: int = 0  # the longest call of KVM_RUN, two clock readings of the monitor included
    rip: int | None = None  # the guest's RIP at the end; None: a program
    reported: int | None = None  # the last number that the guest wrote to the port: 32 bits of its counter
    reported_ns: int | None = None  # when, after the beginning
    cpu_checks: int = 0  # reads of the CPU after a KVM_RUN in which the thread was not moved
    cpu_mismatches: int = 0  # how often it was not the one that the thread had been moved to
    cpu_retries: int = 0  # reads that were repeated because the thread was moved during them


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one process."""

    tgid: int
    ran_ns: int  # from before the first KVM_RUN until the vCPUs had stopped
    interrupted: bool  # whether a signal ended it before the time was over
    locked: int  # address of the instruction under test: the guest's, or of a program the process's
    vcpus: tuple[VcpuResult, ...]
    migrations: int = 0  # how often the threads were moved
    slot_updates: int = 0
    longest_slot_update_ns: int = 0
