"""Disturbances of a running VM: moves of its threads between CPUs, changes of its memory slots."""

import threading
import time
from collections.abc import Callable

from sldtrace.vmm import abi, libc
from sldtrace.vmm.kicks import IntervalTimer, Kind, Sender, Source
from sldtrace.vmm.machine import Machine
from sldtrace.vmm.plan import Plan
from sldtrace.vmm.threads import start_thread

_SHORT_S = 0.001  # a shorter pause is a sleep: Event.wait() takes longer
_MOST_RETRIES = 100


def kicks(plan: Plan, threads: list[int], states: list[abi.Run]) -> list[Source]:
    """The senders of kicks to the vCPU threads (threading.get_ident()) of a plan; none with timers."""
    if not plan.timeout_ns or plan.kick is Kind.TIMER:
        return []
    if plan.kick is Kind.ITIMER:
        return [IntervalTimer(plan.timeout_ns)]
    flags = states if plan.kick is Kind.IMMEDIATE_EXIT else []
    return [Sender(plan.timeout_ns, plan.signo, threads, flags)]


class Worker:
    """A thread that calls `step`, with pauses, until stop(), and `failed` with an exception of it."""

    def __init__(
        self, name: str, pause_ns: int, step: Callable[[], None], failed: Callable[[BaseException], None]
    ) -> None:
        self._pause = pause_ns / 1e9
        self._step, self._failed = step, failed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """The first step comes one pause later."""
        start_thread(self._thread)

    def stop(self) -> None:
        """Ends it after the current step. May be called twice."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            libc.prctl(libc.PR_SET_TIMERSLACK, 1)  # ns, of this thread; else 50 us are added to each pause
            while not self._paused():
                self._step()
        except BaseException as error:
            self._failed(error)

    # Also without a pause the GIL is released.
    def _paused(self) -> bool:
        if self._pause >= _SHORT_S:
            return self._stop.wait(self._pause)
        time.sleep(self._pause)
        return self._stop.is_set()


class Migration:
    """Moves the threads `tids` from CPU to CPU of `cpus`, thread n to the n-th at first.

    After the KVM selftest rseq_test (tools/testing/selftests/kvm/rseq_test.c): `sequence` is odd while
    threads are moved, so that a reader that reads it twice knows whether threads were moved in between.
    The selftest pauses for 1 to 10 us between two moves so that the thread can reach KVM_RUN; the pause of
    the Worker that calls step() is that pause.
    """

    def __init__(self, tids: list[int], cpus: tuple[int, ...]) -> None:
        self._tids, self._cpus = tids, cpus
        self._calls: dict[tuple[int, int], Callable[[], int]] = {}
        self.sequence = 0
        self.moves = 0

    def cpu(self, thread: int) -> int:
        """The CPU that thread n of `tids` is moved to; the move is not complete while `sequence` is odd."""
        return self._cpus[(thread + self.moves) % len(self._cpus)]

    def step(self) -> None:
        """Moves each thread to its next CPU. Raises SldtraceError if the kernel refuses it."""
        self.sequence += 1
        self.moves += 1
        for thread, tid in enumerate(self._tids):
            where = tid, self.cpu(thread)
            if where not in self._calls:
                self._calls[where] = libc.moving(*where)
            if self._calls[where]():
                raise libc.failure("sched_setaffinity", "see --cpus and taskset(1)")
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
        self.retries = 0

    def look(self) -> None:
        """Repeats the reads until the thread was not moved during them; gives up after 100 retries."""
        migration = self._migration
        for _ in range(_MOST_RETRIES if migration.moves else 0):
            before = migration.sequence
            expected = migration.cpu(self._thread)
            cpu = libc.sched_getcpu()
            rseq = cpu if self._rseq is None else self._rseq.value
            if before % 2 == 0 and migration.sequence == before:
                self.checks += 1
                self.mismatches += not cpu == rseq == expected
                return
            self.retries += 1
            time.sleep(0)  # the thread that moves this one needs the GIL


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
