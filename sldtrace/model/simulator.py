"""Simulates the state machine for threads on CPUs, event by event; stretches of early returns at once.

Not simulated: competition for CPU time (a thread that does not sleep runs), and, before 5.19, the effect of a
sibling that switches tasks on a thread with TIF_SLD.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sldtrace.host.msr import DETECT
from sldtrace.model import jiffies, machine
from sldtrace.model import stretch as stretches
from sldtrace.model.machine import Action, Event, Fix, State, Step
from sldtrace.model.penalty import WINDOW_JIFFIES, Penalty
from sldtrace.model.sources import Kind, Source
from sldtrace.model.stretch import Stretch
from sldtrace.model.thread import Column, Costs, Thread, Times, Traps

_BATCH_NS = 10_000_000_000


@dataclass(frozen=True)
class Vcpu:
    """One thread that executes split locks: its signals, the costs of its steps, its first CPU.

    migrate_ns: period at which it moves to the next CPU; 0: never. Threads of a process share one source that
    sends to the process.
    """

    source: Source = field(default_factory=Source)
    costs: Costs = field(default_factory=Costs)
    cpu: int = 0
    migrate_ns: int = 0


@dataclass(frozen=True)
class Scene:
    """What is simulated.

    cores: for each CPU the first CPU of its core, whose MSR it shares; fix: of a kernel that does not exist,
    None: the penalty is the kernel's own; early_returns: in a row, of Fix.EARLY_RETURNS, at least 1;
    start_ns: CLOCK_MONOTONIC at the begin, when all threads begin within microseconds.
    """

    penalty: Penalty
    vcpus: Sequence[Vcpu] = (Vcpu(),)
    cores: Sequence[int] = (0,)
    fix: Fix | None = None
    early_returns: int = 0
    seed: int = 0
    start_ns: int = 0


Runs = npt.NDArray[np.int64]


@dataclass
class Batch:
    """What happened in one span of time.

    traps, signals: by thread, signals as the times when they were generated; detection: writes of
    MSR_TEST_CTRL as (ns, value, CPU, thread, or -1 for the delayed work); migrations: (ns, thread, from CPU,
    to CPU); runs: stretches of guest mode, in order of time for each thread, as rows of (thread, begin,
    end, CPU, 1 if a split lock ended it and 0 for a signal).
    """

    traps: list[Traps] = field(default_factory=list)
    signals: list[Times] = field(default_factory=list)
    detection: list[tuple[int, int, int, int]] = field(default_factory=list)
    migrations: list[tuple[int, int, int, int]] = field(default_factory=list)
    runs: list[Runs] = field(default_factory=list)


class Simulator:
    """One simulation; see `run`."""

    def __init__(self, scene: Scene, at_once: bool = True) -> None:
        """at_once: compute stretches of early returns at once; slower without, with the same result."""
        self.scene = scene
        self.events = 0
        # Stretches are of the kernel's own penalty.
        self._at_once = at_once and scene.fix is None
        self._table = machine.table(scene.penalty, scene.fix is Fix.UNINTERRUPTIBLE)
        # A signal that the sleep does not hear cannot end it.
        self._can_trap = (State.GUEST, Event.SPLIT_LOCK) in self._table
        self._off: set[int] = set()
        self._held = False
        self._queue: list[Thread] = []
        self._works: set[int] = set()
        self._heap: list[tuple[int, int, Callable[[int], None], Thread | None, int]] = []
        self._number = 0
        self._horizon = scene.start_ns
        self._stretches: dict[int, Stretch] = {}
        self._turn = 0
        self._batch = Batch()
        self._runs: list[tuple[int, int, int, int, int]] = []
        self.threads = [
            # Some microseconds apart: threads that do everything at the same time are the exception.
            Thread(
                i,
                each.cpu,
                each.source,
                each.costs,
                7919 * scene.seed + i,
                scene.start_ns + 37_000 * i,
                scene.penalty.sleep_jiffies,
            )
            for i, each in enumerate(scene.vcpus)
        ]
        for thread, vcpu in zip(self.threads, scene.vcpus, strict=True):
            self._plan(thread, scene.start_ns)
            if vcpu.migrate_ns:
                self._post(thread.back_ns + vcpu.migrate_ns, self._migrate(thread, vcpu.migrate_ns))
        for source in {
            id(each.source): each.source for each in scene.vcpus if each.source.to_process
        }.values():
            self._post(scene.start_ns + source.period_ns, self._process_signal(source))

    def run(self, duration_ns: int, batch_ns: int = _BATCH_NS) -> Iterator[Batch]:
        """Simulates the next `duration_ns`; yields what happened in batches."""
        end = self._horizon + duration_ns
        while self._horizon < end:
            self._horizon = min(self._horizon + batch_ns, end)
            while self._heap and self._heap[0][0] < self._horizon:
                now, _, what, thread, version = heapq.heappop(self._heap)
                if thread is None or version == thread.version:
                    self.events += 1
                    what(now)
            self._collect_runs()
            batch, self._batch = self._batch, Batch()
            batch.traps = [thread.drain() for thread in self.threads]
            batch.signals = [thread.drain_signals() for thread in self.threads]
            yield batch

    def executed(self, thread: Thread) -> int:
        """Split locks that the guest has executed so far."""
        if thread.state is State.GUEST:
            self._progress(thread, self._horizon)
        return thread.executed

    # --- events ---

    def _post(
        self, at: int, what: Callable[[int], None], thread: Thread | None = None, version: int = 0
    ) -> None:
        self._number += 1
        heapq.heappush(self._heap, (at, self._number, what, thread, version))

    # The next event of a thread if no other thread interferes.
    def _plan(self, thread: Thread, now: int) -> None:
        thread.version += 1
        best: tuple[int, Event] | None = None
        for at, event in self._candidates(thread):
            if best is None or at < best[0]:
                best = at, event
        if best is not None:
            event = best[1]
            self._post(max(best[0], now), lambda at: self._step(thread, event, at), thread, thread.version)

    def _candidates(self, thread: Thread) -> Iterator[tuple[int, Event]]:
        tick, wake = self.scene.penalty.tick_ns, thread.costs.wake_ns
        signal = thread.signal_ns
        if thread.state is State.OUT:
            yield thread.back_ns, Event.BACK
        elif thread.state is State.GUEST:
            if self._detects(thread):
                yield thread.due_ns, Event.SPLIT_LOCK
            if signal is not None:
                yield signal, Event.SIGNAL
        elif thread.state is State.SLEEP:
            begin = thread.get(Column.SLEEP_BEGIN)
            yield jiffies.expiry_ns(begin, thread.jiffies, tick) + wake, Event.SLEPT
            if signal is not None and (State.SLEEP, Event.SIGNAL) in self._table:
                at = max(signal, begin) + wake
                late = not jiffies.left(begin, thread.jiffies, at, tick)
                yield at, Event.LATE_SIGNAL if late else Event.SIGNAL
        elif thread.state is State.QUEUE:
            if thread.granted_ns is not None:
                yield thread.granted_ns, Event.SEMAPHORE
            elif signal is not None and (State.QUEUE, Event.SIGNAL) in self._table:
                yield max(signal + wake, thread.since_ns), Event.SIGNAL

    def _step(self, thread: Thread, event: Event, now: int) -> None:
        if thread.index in self._stretches:
            self._settle(thread, now)
        before, step = thread.state, self._next(thread, event)
        if before is State.GUEST:
            self._leave_guest(thread, now, event)
        elif before is State.SLEEP:
            thread.set(Column.SLEEP_END, now)
            begin, tick = thread.get(Column.SLEEP_BEGIN), self.scene.penalty.tick_ns
            left = jiffies.left(begin, thread.jiffies, now, tick) if event is Event.SIGNAL else 0
            thread.set(Column.LEFT, left)
            if self.scene.fix is Fix.REMAINING:
                thread.jiffies = left
        elif before is State.QUEUE:
            thread.set(Column.WAIT_END, now)
            thread.granted_ns = None
            if event is Event.SIGNAL:
                self._queue.remove(thread)
        elif before is State.OUT:
            thread.arm(now)
        if event is Event.SIGNAL:
            self._signal(thread, now, before)
        if Action.RETURN in step.action:
            self._return(thread, step.action, now, killed=step.state is State.KILLED)
        thread.state, thread.since_ns = step.state, now
        self._arrive(thread, event, now)
        self._plan(thread, now)
        if thread.state is State.SLEEP and self._at_once:
            self._look_ahead(thread, now)

    def _next(self, thread: Thread, event: Event) -> Step:
        step = self._table[thread.state, event]
        if thread.state is State.GUEST and step.state is State.SLEEP:
            if self.scene.fix is Fix.EARLY_RETURNS and thread.early_returns >= self.scene.early_returns:
                return machine.WITHOUT_PENALTY
            if not thread.jiffies:  # it was slept before
                return Step(State.QUEUE)
        return step

    def _leave_guest(self, thread: Thread, now: int, event: Event) -> None:
        self._progress(thread, now)
        tick = self.scene.penalty.tick_ns
        thread.guest_ns += now - thread.since_ns
        # The host's tick ends guest mode, too.
        thread.exits += 1 + now // tick - thread.since_ns // tick
        thread.due_ns = max(thread.due_ns - now, 0)
        trapped = int(event is Event.SPLIT_LOCK)
        self._runs.append((thread.index, thread.since_ns, now, thread.cpu, trapped))
        if event is Event.SPLIT_LOCK:
            thread.begin(now, thread.guest_ns, thread.exits)
            thread.guest_ns = thread.exits = 0

    def _signal(self, thread: Thread, now: int, before: State) -> None:
        generated = thread.take_signal(now)
        out = now
        if before is State.GUEST:
            out += thread.costs.wake_ns
        else:
            thread.set(Column.SIGNAL, generated)
        thread.back_ns = out + thread.costs.outside_ns

    def _return(self, thread: Thread, action: Action, now: int, killed: bool) -> None:
        if Action.DETECTION_OFF in action:
            self._switch_off(thread, now, hold=Action.HOLD_SEMAPHORE in action)
        if Action.TASK_FLAG in action:
            thread.exempt = True
        detection_off = bool(action & (Action.DETECTION_OFF | Action.TASK_FLAG))
        thread.set(Column.DETECTION_OFF, int(detection_off))
        thread.early_returns = 0 if detection_off else thread.early_returns + 1
        if detection_off:
            thread.jiffies = self.scene.penalty.sleep_jiffies
        thread.set(Column.KILLED, int(killed))
        thread.end(now + (thread.costs.trap_ns if thread.state is State.GUEST else 0))

    def _arrive(self, thread: Thread, event: Event, now: int) -> None:
        if thread.state is State.GUEST:
            thread.due_ns += now + thread.costs.entry_ns
        elif thread.state is State.SLEEP:
            thread.set(Column.SLEEP_BEGIN, now + thread.costs.trap_ns)
        elif thread.state is State.QUEUE:
            thread.set(Column.WAIT_BEGIN, now)
            # A free semaphore is taken without a check for signals (kernel/locking/semaphore.c).
            if self._held:
                self._queue.append(thread)
            else:
                self._held = True
                thread.granted_ns = now

    # --- the host ---

    def _core(self, cpu: int) -> int:
        return self.scene.cores[cpu]

    def _detects(self, thread: Thread) -> bool:
        return self._can_trap and not thread.exempt and self._core(thread.cpu) not in self._off

    # Accounts the split locks executed since the thread entered GUEST.
    def _progress(self, thread: Thread, now: int) -> None:
        if thread.due_ns < now and not self._detects(thread):
            count = -(-(now - thread.due_ns) // thread.costs.spacing_ns)
            thread.executed += count
            thread.due_ns += count * thread.costs.spacing_ns

    def _switch_off(self, thread: Thread, now: int, hold: bool) -> None:
        cpu = thread.cpu
        self._change(cpu, now, thread.index, on=False)
        # One work item for all CPUs, or one for each; while it is queued nothing is queued again.
        key = -1 if hold else -2 if self.scene.penalty.shared_reenable else cpu
        if key in self._works:
            return
        self._works.add(key)
        due = jiffies.expiry_ns(now, WINDOW_JIFFIES, self.scene.penalty.tick_ns) + thread.costs.wake_ns
        self._post(due, lambda at: self._reenable(cpu, key, hold, at))

    def _reenable(self, cpu: int, key: int, hold: bool, now: int) -> None:
        self._works.discard(key)
        self._change(cpu, now, -1, on=True)
        if not hold:
            return
        self._held = False
        if self._queue:
            self._held = True
            first = self._queue.pop(0)
            first.granted_ns = now + first.costs.wake_ns
            self._plan(first, now)

    def _change(self, cpu: int, now: int, by: int, on: bool) -> None:
        core = self._core(cpu)
        others = [each for each in self.threads if self._core(each.cpu) == core and each.index != by]
        for thread in others:
            if thread.index in self._stretches:
                self._settle(thread, now)
            elif thread.state is State.GUEST:
                self._progress(thread, now)
        if on:
            self._off.discard(core)
        else:
            self._off.add(core)
        self._batch.detection.append((now, DETECT if on else 0, cpu, by))
        for thread in others:
            self._plan(thread, now)

    def _migrate(self, thread: Thread, every_ns: int) -> Callable[[int], None]:
        def move(now: int) -> None:
            if thread.state is State.KILLED:
                return
            if thread.index in self._stretches:
                self._settle(thread, now)
            if thread.state is State.GUEST:
                self._progress(thread, now)
            before, thread.cpu = thread.cpu, (thread.cpu + 1) % len(self.scene.cores)
            if before != thread.cpu:
                self._batch.migrations.append((now, thread.index, before, thread.cpu))
            self._plan(thread, now)
            self._post(now + every_ns, move)

        return move

    def _process_signal(self, source: Source) -> Callable[[int], None]:
        def send(now: int) -> None:
            mine = [each for each in self.threads if each.source is source]
            for step in range(len(mine)):
                thread = mine[(self._turn + step) % len(mine)]
                if thread.signal_ns is None and thread.state is not State.KILLED:
                    self._turn = (self._turn + step + 1) % len(mine)
                    thread.signal_ns = now
                    self._plan(thread, now)
                    break
            if source.kind is Kind.PERIODIC:
                self._post(now + max(1, source.period_ns + mine[0].noise.one()), send)

        return send

    def _collect_runs(self) -> None:
        if self._runs:
            self._batch.runs.append(np.array(self._runs, np.int64))
            self._runs = []

    # --- stretches ---

    def _look_ahead(self, thread: Thread, now: int) -> None:
        if (State.SLEEP, Event.SIGNAL) not in self._table:
            return
        found = stretches.ahead(thread, self.scene.penalty, now, self._horizon)
        if found is None:
            return
        self._stretches[thread.index] = found
        thread.version += 1
        self._post(found.end_ns, lambda at: self._step(thread, Event.BACK, at), thread, thread.version)

    # Sets the thread to its state at `now`, within its stretch or at the end.
    def _settle(self, thread: Thread, now: int) -> None:
        found = self._stretches.pop(thread.index)
        # At the same time events of other threads come first, as without stretches.
        begun = max(1, int(found.traps[:, Column.START].searchsorted(now, "left")))
        last = found.traps[begun - 1]
        over = now > last[Column.END] or now == found.end_ns
        done = begun if over else begun - 1
        self.events += 3 * done  # the trap, the signal, the way back
        if done:
            thread.add(found.traps[:done])
        if begun > 1:
            self._collect_runs()
            runs = np.zeros((begun - 1, 5), np.int64)
            runs[:, 0], runs[:, 3], runs[:, 4] = thread.index, thread.cpu, 1
            runs[:, 1], runs[:, 2] = found.back[: begun - 1], found.traps[1:begun, Column.START]
            self._batch.runs.append(runs)
        thread.skip_signals(found.signals[: begun - 1], int(found.signals[begun - 1]))
        if not over:
            thread.begin(int(last[Column.START]), int(last[Column.GUEST]), int(last[Column.EXITS]))
            thread.set(Column.SLEEP_BEGIN, int(last[Column.SLEEP_BEGIN]))
            thread.state, thread.since_ns = State.SLEEP, int(last[Column.START])
            return
        thread.take_signal(int(last[Column.END]))
        thread.due_ns = 0
        thread.back_ns = int(found.back[begun - 1])
        thread.state, thread.since_ns = State.OUT, int(last[Column.END])
        if now > thread.back_ns:
            thread.arm(thread.back_ns)
            thread.state, thread.since_ns = State.GUEST, thread.back_ns
            thread.due_ns = thread.back_ns + thread.costs.entry_ns
