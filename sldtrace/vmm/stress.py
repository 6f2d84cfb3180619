"""Disturbances of a running VM: moves of its threads between CPUs, changes of its memory slots."""

import os
import threading
from collections.abc import Callable

from sldtrace.vmm import abi, libc
from sldtrace.vmm.kicks import IntervalTimer, Kind, Sender, Source
from sldtrace.vmm.machine import Machine
from sldtrace.vmm.plan import Plan
from sldtrace.vmm.threads import start_thread


def kicks(plan: Plan, threads: list[int], states: list[abi.Run]) -> list[Source]:
    """The senders of kicks to the vCPU threads (threading.get_ident()) of a plan; none with timers."""
    if not plan.timeout_ns or plan.kick is Kind.TIMER:
        return []
    if plan.kick is Kind.ITIMER:
        return [IntervalTimer(plan.timeout_ns)]
    flags = states if plan.kick is Kind.IMMEDIATE_EXIT else []
    return [Sender(plan.timeout_ns, plan.signo, threads, flags)]


class Worker:
    """A thread that calls `step` every `period_ns` until stop(), and `failed` with an exception of it."""

    def __init__(
        self, name: str, period_ns: int, step: Callable[[], None], failed: Callable[[BaseException], None]
    ) -> None:
        self._period = period_ns / 1e9
        self._step, self._failed = step, failed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """The first step comes one period later."""
        start_thread(self._thread)

    def stop(self) -> None:
        """Ends it after the current step. May be called twice."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._period):
                self._step()
        except BaseException as error:
            self._failed(error)


class Migration:
    """Moves the threads `tids` from CPU to CPU of `cpus`, thread n to the n-th at first.

    After the KVM selftest rseq_test (tools/testing/selftests/kvm/rseq_test.c): `sequence` is odd while
    threads are moved, so that a reader that reads it twice knows whether threads were moved in between.
    The selftest pauses between two moves so that the thread can reach KVM_RUN; the period of
    the Worker that calls step() is that pause.
    """

    def __init__(self, tids: list[int], cpus: tuple[int, ...]) -> None:
        self._tids, self._cpus = tids, cpus
        self.sequence = 0
        self.moves = 0

    def cpu(self, thread: int) -> int:
        """The CPU that thread n of `tids` is moved to; the move is not complete while `sequence` is odd."""
        return self._cpus[(thread + self.moves) % len(self._cpus)]

    def step(self) -> None:
        """Moves each thread to its next CPU."""
        self.sequence += 1
        self.moves += 1
        for thread, tid in enumerate(self._tids):
            os.sched_setaffinity(tid, {self.cpu(thread)})
        self.sequence += 1


class CpuWatch:
    """Compares the kernel's CPU number after KVM_RUN with the CPU that the Migration moved the thread to.

    sched_getcpu(3) and, if available, rseq.cpu_id: the selftest is for a bug where the kernel entered the
    guest without an update of rseq (8646e53633f3).
    """

    def __init__(self, migration: Migration, thread: int) -> None:
        self._migration, self._thread = migration, thread
        self._rseq = libc.rseq_cpu()
        self.checks = 0
        self.mismatches = 0

    def look(self) -> None:
        before = self._migration.sequence
        expected = self._migration.cpu(self._thread)
        cpu = libc.sched_getcpu()
        rseq = cpu if self._rseq is None else self._rseq.value
        if before % 2 or self._migration.sequence != before or not self._migration.moves:
            return
        self.checks += 1
        if not cpu == rseq == expected:
            self.mismatches += 1


class Slots:
    """Adds a memory slot to a VM and removes it again, and measures how long the VMM waits for that.

    synchronize_srcu() waits for vCPU threads in KVM_RUN that hold the read lock, as a penalized one does.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.updates = 0
        self.longest_ns = 0

    def step(self) -> None:
        """One update: an addition or a removal."""
        took = self._machine.toggle_slot(self.updates % 2 == 0)
        self.updates += 1
        self.longest_ns = max(self.longest_ns, took)
