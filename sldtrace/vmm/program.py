"""Runs a guest's code as an ordinary program, without KVM: a user-space split lock with a periodic signal."""

import ctypes
import mmap
import os
import signal
import threading
import time
from types import FrameType

from sldtrace.errors import SldtraceError, UsageError
from sldtrace.vmm import memory, signals, stress
from sldtrace.vmm.kicks import Kind, PosixTimer
from sldtrace.vmm.monitor import Started
from sldtrace.vmm.plan import Plan, Result, VcpuResult
from sldtrace.vmm.threads import start_thread

_kept: list[memory.GuestMemory] = []  # what threads run in until the process ends

# guests/abi.inc: RDI, RSI, RDX and RCX, which are the first arguments of the C ABI as well. Frees the GIL.
_Code = ctypes.CFUNCTYPE(None, *[ctypes.c_uint64] * 4)


def run(plan: Plan, started: Started) -> Result:
    """Runs plan.guest in plan.vcpus threads until the time is over or a signal of signals.ENDING comes.

    The threads and their signals do not end: memory and handlers stay, and the process must end by
    os._exit(). Raises UsageError for a guest that needs a VM, SldtraceError if the host refuses memory that
    is writable and executable, OSError if a thread cannot be moved to its CPU.
    """
    guest = plan.guest
    if guest.privileged:
        raise UsageError(f"guest {guest.name} needs a virtual machine: it cannot run as a program")
    if plan.kick is Kind.IMMEDIATE_EXIT or plan.slots_ns:
        raise UsageError("a program has no KVM_RUN and no memory slots")
    signals.block_all()
    ended = threading.Event()
    interrupted = False
    failures: list[BaseException] = []

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        ended.set()

    def fail(error: BaseException) -> None:
        failures.append(error)
        ended.set()

    signals.install(interrupt, *signals.ENDING)
    signal.signal(plan.signo, signals.ignore)
    area = _memory()
    _kept.append(area)
    area.load(guest.image)
    base = area.address()
    tids = [0] * plan.vcpus
    ready, begin = threading.Barrier(plan.vcpus + 1), threading.Event()

    def work(index: int) -> None:
        tids[index] = threading.get_native_id()
        operand = guest.operand + (0 if plan.shared else index * memory.AREA)
        ready.wait()
        begin.wait()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {plan.signo})
        _Code(base + guest.start)(0, base + operand, base + memory.counter(index), guest.every)

    threads = [
        threading.Thread(target=work, args=(index,), name=f"program {index}", daemon=True)
        for index in range(plan.vcpus)
    ]
    for thread in threads:
        start_thread(thread)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.ENDING)
    ready.wait()
    if plan.cpus:
        for index, tid in enumerate(tids):
            os.sched_setaffinity(tid, {plan.cpus[index % len(plan.cpus)]})
    started(tids)
    migration = stress.Migration(tids, plan.cpus)
    sources = stress.kicks(plan, [thread.ident or 0 for thread in threads], [])
    if plan.migrate_ns is not None:
        sources.append(stress.Worker("migration", plan.migrate_ns, migration.step, fail))
    timers = []
    if plan.timeout_ns and plan.kick is Kind.TIMER:
        timers = [PosixTimer(plan.timeout_ns, plan.signo, tid, periodic=True) for tid in tids]
    start = time.monotonic_ns()
    begin.set()
    for source in sources:
        source.start()
    signals.wait(ended, plan.duration_ns)
    ran = time.monotonic_ns() - start
    loops = [area.counter(index) for index in range(plan.vcpus)]
    for source in sources:
        source.stop()
    for timer in timers:
        timer.close()
    if failures:
        raise failures[0]
    return Result(
        tgid=os.getpid(),
        ran_ns=ran,
        interrupted=interrupted,
        locked=base + guest.locked,
        vcpus=tuple(VcpuResult(tid, count) for tid, count in zip(tids, loops, strict=True)),
        migrations=migration.moves,
    )


def _memory() -> memory.GuestMemory:
    try:
        return memory.GuestMemory(protection=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except SldtraceError as error:
        raise SldtraceError(error.message, "a security module may forbid executable memory") from error
