"""Records: compiles, attaches, drains the rings into the file once in a while, and ends clean."""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sldtrace.capture import memory, privileges
from sldtrace.capture.bpf.callers import Callers
from sldtrace.capture.bpf.filters import Filters
from sldtrace.capture.bpf.probes import Probes, load
from sldtrace.capture.bpf.program import Program
from sldtrace.capture.bpf.sources import RECENT, Sizes
from sldtrace.capture.bpf.syscalls import Runs
from sldtrace.capture.clock_steps import Moments
from sldtrace.capture.cost import Cost
from sldtrace.capture.detail import Detail
from sldtrace.capture.governor import Governor, Limits
from sldtrace.capture.live.alarm import Alarm, Alarms
from sldtrace.capture.losses import Losses, begins_run
from sldtrace.capture.scheduling import give_way
from sldtrace.errors import SldtraceError
from sldtrace.host import facts, kernel, split_lock
from sldtrace.host.notify import Notifier
from sldtrace.host.vms import process
from sldtrace.host.vms.names import matches_vm
from sldtrace.model import penalty
from sldtrace.recording import schema, sparse, target
from sldtrace.recording.layout import Records
from sldtrace.recording.retention import Keep
from sldtrace.recording.rotation import Rotate, Rotation
from sldtrace.recording.sink import Sink
from sldtrace.recording.writer import Writer

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
FINDING = "finding"
"""What a recording was ended by when --until did it; otherwise `duration`, or the name of a signal."""

_SECOND_NS = 1_000_000_000
# What is a second old is in the file: drained after 200 ms at most, written within 800 ms more.
_ACCOUNT_NS = 800_000_000
_FLUSH_NS = 600_000_000
_SETTLE_NS = 250_000_000


@dataclass(frozen=True)
class Order:
    """What to record.

    path: the file; duration_ns: None means until a signal; exits: one of sources.EXITS; keep, rotate: one of
    them or none; for tests, a forced backend, other ring sizes, and how often the rings are emptied.
    """

    path: Path
    duration_ns: int | None = None
    filters: Filters = field(default_factory=Filters)
    exits: str = RECENT
    limits: Limits = field(default_factory=Limits)
    alarms: Alarms = field(default_factory=Alarms)
    keep: Keep | None = None
    rotate: Rotate | None = None
    force: bool = False
    backend: str | None = None
    sizes: Sizes = field(default_factory=Sizes)
    poll_ns: int = 200_000_000


@dataclass
class Status:
    """Where the recording stands; counts are records so far.

    path, bytes: of the file that is being written; cpu: per cent of one CPU in the last second, recorder and
    probes; cost: see Cost.fact; unfinished: traps that had not ended.
    """

    elapsed_ns: int = 0
    traps: int = 0
    early_returns: int = 0
    records: int = 0
    lost: int = 0
    bytes: int = 0
    level: str = ""
    cpu: float = 0.0
    ended_by: str = ""
    unfinished: int = 0
    cost: dict[str, Any] = field(default_factory=dict)
    path: Path = Path()


class Recorder:
    """One recording, from `run` to its return; `tell` gets the status once a second, `say` a line of news."""

    def __init__(self, order: Order, say: Callable[[str], None], tell: Callable[[Status], None]) -> None:
        self._order = order
        self._say = say
        self._tell = tell
        self._status = Status(path=order.path)
        self._losses = Losses()
        self._moments = Moments()
        self._described: dict[int, Mapping[str, Any]] = {}
        self._unwanted: set[int] = set()
        self._left_out = dict.fromkeys(schema.current().records, 0)
        self._callers = Callers([])
        self._noted: str | None = None
        # With nohup the end of the session is to be ignored.
        ignored = {each for each in (signal.SIGHUP,) if signal.getsignal(each) == signal.SIG_IGN}
        self._stop = STOP_SIGNALS - ignored

    def run(self) -> Status:
        """Records until the time is up, a stop signal comes or what was waited for is found; the last status.

        Raises SldtraceError where recording is impossible or the file cannot be written; whatever was
        attached has been detached then, and what was written stays readable.
        """
        order = self._order
        # The writer does so again; this saves the wait for the compiler.
        if order.rotate is None:
            target.check(order.path, order.force)
        if order.keep is not None:
            sparse.require(order.path.parent)
        self._say("compiling and attaching the probes")
        # A stop signal waits until it is fetched, also while the probes are attached or taken off.
        with _blocked(STOP_SIGNALS):
            try:
                probes = load(order.filters, order.exits, order.sizes, order.backend, self._interrupted)
                try:
                    self._record(probes)
                finally:
                    probes.close()
            except KeyboardInterrupt:
                raise SldtraceError("stopped before anything was recorded") from None
            finally:
                while signal.sigtimedwait(STOP_SIGNALS, 0):
                    pass
        return self._status

    def _interrupted(self) -> bool:
        return bool(signal.sigpending() & self._stop)

    def _record(self, probes: Probes) -> None:
        order, status, program = self._order, self._status, probes.program
        cost, notifier = Cost(), Notifier()
        sink = self._sink(probes)
        self._callers = Callers(program.kvm)
        closing: dict[str, Any] = {"ended_by": "error"}
        detail = Detail(Governor(order.exits, order.limits), probes, sink, self._say)
        alarm = self._alarm()
        for warning in filter(None, (probe.warning for probe in probes.attached)):
            self._say(warning)
        try:
            self._drop_rights()
            give_way()
            # Whoever came into a caller of split_lock_warn before its return was hooked is past it by then.
            time.sleep(2 * kernel.tick_ns() / 1e9)
            start = time.monotonic_ns()
            detail.start()
            program.set_control("OPEN", start)
            where = target.shown(sink.path)
            self._say(f"recording to {where}" + (" until Ctrl-C" if order.duration_ns is None else ""))
            notifier.ready(f"recording to {where}")
            memory.trim()
            status.ended_by = self._loop(program, sink, detail, alarm, cost, notifier, start)
            notifier.stopping()
            program.set_control("OPEN", 0)
            self._settle(program, sink, detail, alarm)
            status.cost = cost.fact()
            closing = self._closing(program, detail)
        finally:
            cost.close()
            notifier.close()
            sink.close({"clock": facts.clock(), **closing})
            self._note(sink)

    def _sink(self, probes: Probes) -> Sink:
        order = self._order
        opening = facts.read()
        opening["probes"] = [probe.fact() for probe in probes.attached]
        opening["filters"] = order.filters.fact()
        opening["exits"] = order.exits
        opening["limits"] = {"events": order.limits.events, "cpu": order.limits.cpu}
        if order.rotate is not None:
            return Rotation(order.path, opening, order.rotate, facts.moment)
        return Writer(order.path, opening, force=order.force, keep=order.keep)

    def _alarm(self) -> Alarm:
        lock = split_lock.read()
        symbols = kernel.generation_symbols()
        rule = penalty.of(
            kernel.release(), kernel.tick_ns(), mode=lock.mode, mitigate=lock.mitigate, symbols=symbols
        )
        return Alarm(
            self._order.alarms, rule, kernel.cores(), self._say, lambda tgid: self._described.get(tgid, {})
        )

    def _drop_rights(self) -> None:
        order = self._order
        writes_later = order.rotate is not None or order.keep is not None
        privileges.drop(order.path.parent if writes_later else None)

    def _closing(self, program: Program, detail: Detail) -> dict[str, Any]:
        status = self._status
        return {
            "ended_by": status.ended_by,
            "split_lock": {"mitigate": split_lock.read().mitigate},
            "seen": {kind: self._losses.seen(kind) for kind in program.rings},
            "unfinished": {"trap": status.unfinished, "exit": detail.unfinished_exits},
            "filtered": {kind: count for kind, count in self._left_out.items() if count},
            "skipped": {name: one.skipped for name, one in program.runs().items() if one.skipped},
            "cost": status.cost,
        }

    def _loop(
        self,
        program: Program,
        sink: Sink,
        detail: Detail,
        alarm: Alarm,
        cost: Cost,
        notifier: Notifier,
        start: int,
    ) -> str:
        status = self._status
        then, before, flushed = start, 0, start
        while True:
            came = self._wait()
            traps = status.traps
            self._drain(program, sink, alarm)
            now = time.monotonic_ns()
            if status.traps > traps:
                detail.trapped(now)
                sink.compress = detail.compress
            alarm.round(now, target.shown(sink.path))
            notifier.alive()
            status.elapsed_ns = now - start
            if now - flushed >= _FLUSH_NS:
                sink.flush()
                flushed = now
            ended, due = self._ended(came, alarm, now), now - then >= _ACCOUNT_NS
            # Also what came since the last second costs something.
            if due or ended:
                runs = self._account(program, sink, cost.times)
                exits = program.counters.exits() if program.counters else 0
                status.cpu = cost.second(runs, exits, detail.armed)
            if due:
                events = (status.records + status.lost - before) * _SECOND_NS / (now - then)
                then, before = now, status.records + status.lost
                detail.second(now, events, status.cpu)
                sink.compress = detail.compress
                status.level = detail.level
                self._tell(status)
            if ended:
                return ended

    # Why it is over, if it is.
    def _ended(self, came: signal.Signals | None, alarm: Alarm, now: int) -> str | None:
        if came:
            return came.name
        if self._order.duration_ns is not None and self._status.elapsed_ns >= self._order.duration_ns:
            return "duration"
        return FINDING if alarm.end_ns is not None and now >= alarm.end_ns else None

    # Until a stop signal has come, or it is time to empty the rings. CPython gives out memory that nobody has
    # written to when the call is interrupted (SIGSTOP, SIGCONT) and its time is over meanwhile.
    def _wait(self) -> signal.Signals | None:
        came = signal.sigtimedwait(self._stop, self._order.poll_ns / 1e9)
        return next((each for each in self._stop if came and came.si_signo == each), None)

    # No new run begins now; those under way end within a penalty, unless they wait for the semaphore.
    def _settle(self, program: Program, sink: Sink, detail: Detail, alarm: Alarm) -> None:
        deadline = time.monotonic_ns() + _SETTLE_NS
        while True:
            # Counters first, rings second: a record counted is a record read.
            self._account(program, sink, False)
            self._drain(program, sink, alarm)
            self._status.unfinished = self._under_way()
            if self._status.unfinished <= 0 or time.monotonic_ns() > deadline:
                break
            time.sleep(kernel.tick_ns() / 1e9)
        detail.end()
        self._account(program, sink, False)
        self._drain(program, sink, alarm)
        # Taking them off takes the kernel a while, in which more may have ended.
        self._status.unfinished = self._under_way()
        alarm.close(time.monotonic_ns(), target.shown(sink.path))

    # Runs that were counted and have not become records.
    def _under_way(self) -> int:
        seen = self._losses.seen("trap") - self._losses.lost("trap")
        return seen - self._status.traps - self._left_out["trap"]

    def _drain(self, program: Program, sink: Sink, alarm: Alarm) -> None:
        # Names last: whoever is in one of the other rings has been introduced before.
        read = {kind: ring.read() for kind, ring in program.rings.items() if kind != "task"}
        self._introduce(program, sink, program.rings["task"].read())
        for kind, records in read.items():
            if len(records):
                alarm.take(kind, self._take(sink, kind, records))
        if "stall" in read and (names := self._callers.note(read["stall"])):
            sink.facts_update({"kvm": {"functions": names}})

    def _take(self, sink: Sink, kind: str, records: Records) -> Records:
        if self._unwanted and "tgid" in (records.dtype.names or ()):
            wanted = ~np.isin(records["tgid"], list(self._unwanted))
            self._left_out[kind] += len(records) - int(wanted.sum())
            records = records[wanted]
        if len(records):
            sink.append(kind, records)
            self._status.records += len(records)
        if kind == "trap":
            self._status.traps += len(records)
            early = (records["sleep_left_ms"] > 0) | (records["semaphore_result"] < 0)
            self._status.early_returns += int(early.sum())
        return records

    # Once for each process, and for each thread of it, that is ever met.
    def _introduce(self, program: Program, sink: Sink, tasks: Records) -> None:
        if not len(tasks):
            return
        for tgid in {int(tgid) for tgid in tasks["tgid"]}:
            # A process that has ended by now keeps what was known of it.
            if described := process.describe(tgid):
                self._described[tgid] = described
            wanted = self._order.filters.vm
            if wanted is None:
                continue
            if matches_vm(self._described.get(tgid, {}), wanted):
                self._unwanted.discard(tgid)  # a PID may be used again
            else:
                self._unwanted.add(tgid)
                program.filter_out(tgid)
        tasks = self._take(sink, "task", tasks)
        known = {
            str(tgid): self._described[tgid] for tgid in set(tasks["tgid"].tolist()) & self._described.keys()
        }
        sink.facts_update({"processes": known})

    def _account(self, program: Program, sink: Sink, every_run: bool) -> Mapping[str, Runs]:
        runs = program.runs() if every_run else program.runs(begins_run)
        lost = self._losses.update(program.event_counts(), runs)
        if len(lost):
            sink.append("lost", lost)
            self._status.lost += int(lost["count"].sum())
        if program.counters:
            self._take(sink, "counts", program.counters.read())
            if program.counters.freed:
                program.scope_changed()
        if stepped := self._moments.look():
            sink.facts_update(stepped)
        sink.flush()
        self._note(sink)
        self._status.path, self._status.bytes = sink.path, sink.size
        return runs

    def _note(self, sink: Sink) -> None:
        if sink.note != self._noted and sink.note is not None:
            self._say(f"warning: {sink.note}")
        self._noted = sink.note


class _blocked:
    """Within it the signals wait to be fetched by sigtimedwait."""

    def __init__(self, signals: set[signal.Signals]) -> None:
        self._signals = signals

    def __enter__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
