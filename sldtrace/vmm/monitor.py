"""Runs a plan in this process: a thread for each vCPU; the main thread starts, disturbs and stops them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from types import FrameType

from sldtrace.vmm import loop, signals, stress
from sldtrace.vmm.kicks import Flag, Kick, Kind, Pending, PosixTimer
from sldtrace.vmm.machine import Machine
from sldtrace.vmm.plan import Plan, Result, VcpuResult
from sldtrace.vmm.threads import start_thread

# The period of kicks to a vCPU thread that has to stop.
_KICK_AGAIN_S = 0.02

# Called once when all threads exist and before a guest runs: their TIDs.
Started = Callable[[list[int]], None]


class Monitor:
    """One VM and its threads; for one run(). For use in the main thread only."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ended = threading.Event()  # wakes the main thread: time to stop
        self._stopping = threading.Event()  # for the vCPU threads: time to stop
        self._interrupted = False
        self._failure: BaseException | None = None
        self._ready = threading.Semaphore(0)  # released by each vCPU thread that could begin, or failed
        self._begin = threading.Event()
        self._tids = [0] * plan.vcpus
        self._results: list[VcpuResult | None] = [None] * plan.vcpus
        self._migration = stress.Migration(self._tids, plan.cpus) if plan.migrate_ns is not None else None

    def run(self, started: Started) -> Result:
        """Runs the guest until the time is over, a signal of signals.ENDING comes, or something fails.

        Afterwards the calling thread blocks all other signals. Raises SldtraceError.
        """
        plan = self._plan
        signals.block_all()
        with (
            signals.handled(signals.ignore, plan.signo),
            signals.handled(self._interrupt, *signals.ENDING),
            Machine(plan.guest, plan.vcpus, plan.shared) as machine,
            ExitStack() as stack,
        ):
            threads = [
                threading.Thread(target=self._vcpu, args=(machine, index), name=f"vcpu {index}", daemon=True)
                for index in range(plan.vcpus)
            ]
            stack.callback(self._stop, machine, threads)
            for thread in threads:
                start_thread(thread)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.ENDING)
            for _ in threads:
                self._ready.acquire()
            self._raise()
            started(self._tids)
            slots = stress.Slots(machine)
            idents = [thread.ident or 0 for thread in threads]
            sources = stress.kicks(plan, idents, [vcpu.state() for vcpu in machine.vcpus])
            if self._migration and plan.migrate_ns is not None:
                sources.append(stress.Worker("migration", plan.migrate_ns, self._migration.step, self._fail))
            if plan.slots_ns:
                sources.append(stress.Worker("memory slots", plan.slots_ns, slots.step, self._fail))
            for source in sources:
                stack.callback(source.stop)
            start = time.monotonic_ns()
            self._begin.set()
            for source in sources:
                source.start()
            signals.wait(self._ended, plan.duration_ns)
            for source in sources:
                source.stop()
            self._stop(machine, threads)
            ran = time.monotonic_ns() - start  # what the guest does in its last KVM_RUN counts, too
            self._raise()
            return Result(
                tgid=os.getpid(),
                ran_ns=ran,
                interrupted=self._interrupted,
                locked=plan.guest.locked,
                vcpus=tuple(
                    replace(result, loops=machine.memory.counter(index))
                    for index, result in enumerate(self._results)
                    if result is not None
                ),
                migrations=self._migration.moves if self._migration else 0,
                slot_updates=slots.updates,
                longest_slot_update_ns=slots.longest_ns,
            )

    def _vcpu(self, machine: Machine, index: int) -> None:
        plan = self._plan
        kick: Kick | None = None
        try:
            vcpu = machine.vcpus[index]
            self._tids[index] = threading.get_native_id()
            if plan.cpus:
                os.sched_setaffinity(0, {plan.cpus[index % len(plan.cpus)]})
            if plan.kick is Kind.IMMEDIATE_EXIT:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {plan.signo})
                kick = Flag(vcpu.state())
            else:
                vcpu.set_signal_mask(signals.all_but(plan.signo))
                kick = Pending(plan.signo)
                if plan.timeout_ns and plan.kick is Kind.TIMER:
                    kick = PosixTimer(plan.timeout_ns, plan.signo, threading.get_native_id())
            self._ready.release()
            self._begin.wait()
            kick.drain()  # the timer ran already while the threads were waiting for each other
            watch = stress.CpuWatch(self._migration, index) if self._migration else None
            self._results[index] = loop.run(vcpu, plan.guest.locked, kick, self._stopping, watch)
        except BaseException as error:
            self._fail(error)
            self._ready.release()
        finally:
            if kick is not None:
                kick.close()

    def _stop(self, machine: Machine, threads: Sequence[threading.Thread]) -> None:
        self._stopping.set()
        self._begin.set()
        for vcpu in machine.vcpus:
            vcpu.state().immediate_exit = 1
        for thread in threads:
            if not thread.ident:
                continue
            # The thread's own timer makes it leave KVM_RUN soon; otherwise it is kicked until it has ended.
            if self._plan.timeout_ns:
                thread.join(min(self._plan.timeout_ns / 1e9, _KICK_AGAIN_S))
            while thread.is_alive():
                with suppress(ProcessLookupError):
                    signal.pthread_kill(thread.ident, self._plan.signo)
                thread.join(_KICK_AGAIN_S)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        self._interrupted = True
        self._ended.set()

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._ended.set()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure
