"""Records: compiles, attaches, drains the rings into the file once in a while, and ends clean."""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.capture import privileges
from sldtrace.capture.cost import Cost
from sldtrace.capture.filters import Filters
from sldtrace.capture.governor import Governor, Limits, Step
from sldtrace.capture.losses import Losses
from sldtrace.capture.probes import Probes, load
from sldtrace.capture.program import Program
from sldtrace.capture.sources import HOT, Sizes
from sldtrace.capture.syscalls import Runs
from sldtrace.errors import SldtraceError
from sldtrace.host import facts, kernel, process, splitlock
from sldtrace.host.vms.names import matches_vm
from sldtrace.recording import schema, target
from sldtrace.recording.writer import Writer

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_SECOND_NS = 1_000_000_000
_SETTLE_NS = 250_000_000

Records = npt.NDArray[Any]


@dataclass(frozen=True)
class Order:
    """What to record.

    path: the file; duration_ns: None means until a signal; exits: one of sources.EXITS; for tests, a forced
    backend, other ring sizes, and how often the rings are emptied.
    """

    path: Path
    duration_ns: int | None = None
    filters: Filters = field(default_factory=Filters)
    exits: str = HOT
    limits: Limits = field(default_factory=Limits)
    force: bool = False
    backend: str | None = None
    sizes: Sizes = field(default_factory=Sizes)
    poll_ns: int = 200_000_000


@dataclass
class Status:
    """Where the recording stands; counts are records so far."""

    elapsed_ns: int = 0
    traps: int = 0
    early_returns: int = 0
    records: int = 0
    lost: int = 0
    seen: int = 0
    bytes: int = 0
    level: str = ""
    cpu: float = 0.0
    ended_by: str = ""
    unfinished: int = 0
    cost: dict[str, Any] = field(default_factory=dict)


class Recorder:
    """One recording, from `run` to its return; `tell` gets the status once a second, `say` a line of news."""

    def __init__(self, order: Order, say: Callable[[str], None], tell: Callable[[Status], None]) -> None:
        self._order = order
        self._say = say
        self._tell = tell
        self._status = Status()
        self._losses = Losses()
        self._governor = Governor(order.exits, order.limits)
        self._levels = schema.current().enums["level"]
        self._armed = False
        self._unfinished_exits = 0
        self._unwanted: set[int] = set()
        self._left_out = dict.fromkeys(schema.current().records, 0)
        # With nohup the end of the session is to be ignored.
        ignored = {each for each in (signal.SIGHUP,) if signal.getsignal(each) == signal.SIG_IGN}
        self._stop = STOP_SIGNALS - ignored

    def run(self) -> Status:
        """Records until the time is up or a stop signal comes; returns the last status.

        Raises SldtraceError where recording is impossible or the file cannot be written; whatever was
        attached has been detached then, and what was written stays readable.
        """
        order = self._order
        # The writer does so again; this saves the wait for the compiler.
        target.check(order.path, order.force)
        self._say("compiling and attaching the probes")
        # A stop signal waits until it is fetched, also while the probes are attached or taken off.
        with _blocked(STOP_SIGNALS):
            try:
                probes = load(order.filters, order.exits, order.sizes, order.backend, self._interrupted)
                try:
                    self._record(probes.program, probes)
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

    def _record(self, program: Program, probes: Probes) -> None:
        order, status = self._order, self._status
        cost = Cost()
        opening = facts.read()
        opening["probes"] = [probe.fact() for probe in probes.attached]
        opening["filters"] = order.filters.fact()
        opening["exits"] = order.exits
        opening["limits"] = {"events": order.limits.events, "cpu": order.limits.cpu}
        writer = Writer(order.path, opening, force=order.force)
        closing: dict[str, Any] = {"ended_by": "error"}
        try:
            privileges.drop()
            # A run that began while its outer probe was missing has left its first microseconds by then.
            time.sleep(2 * kernel.tick_ns() / 1e9)
            start = time.monotonic_ns()
            self._apply(self._governor.start(), probes, writer)
            program.tell("OPEN", start)
            self._say(
                f"recording to {target.shown(order.path)}"
                + (" until Ctrl-C" if order.duration_ns is None else "")
            )
            status.ended_by = self._loop(program, probes, writer, cost, start)
            program.tell("OPEN", 0)
            self._settle(program, probes, writer)
            status.cost = cost.fact()
            closing = {
                "ended_by": status.ended_by,
                "split_lock": {"mitigate": splitlock.read().mitigate},
                "seen": {kind: self._losses.seen(kind) for kind in program.rings},
                "unfinished": {"trap": status.unfinished, "exit": self._unfinished_exits},
                "left_out": {kind: count for kind, count in self._left_out.items() if count},
                "skipped": {name: one.skipped for name, one in program.runs().items() if one.skipped},
                "cost": status.cost,
            }
        finally:
            cost.close()
            writer.close({"clock": facts.clock(), **closing})

    def _loop(self, program: Program, probes: Probes, writer: Writer, cost: Cost, start: int) -> str:
        order, status = self._order, self._status
        then, before = start, 0
        while True:
            came = signal.sigtimedwait(self._stop, order.poll_ns / 1e9)
            traps = status.traps
            self._drain(program, writer)
            now = time.monotonic_ns()
            if status.traps > traps:
                self._apply(self._governor.trapped(now), probes, writer)
            status.elapsed_ns = now - start
            if now - then >= _SECOND_NS:
                runs = self._account(program, writer)
                exits = program.counters.exits() if program.counters else 0
                status.cpu = cost.second(runs, exits, self._armed)
                events = (status.records + status.lost - before) * _SECOND_NS / (now - then)
                then, before = now, status.records + status.lost
                self._apply(self._governor.second(now, events, status.cpu), probes, writer)
                self._tell(status)
            if came:
                return signal.Signals(came.si_signo).name
            if order.duration_ns is not None and status.elapsed_ns >= order.duration_ns:
                return "duration"

    # No new run begins now; those under way end within a penalty, unless they wait for the semaphore.
    def _settle(self, program: Program, probes: Probes, writer: Writer) -> None:
        deadline = time.monotonic_ns() + _SETTLE_NS
        while True:
            # Counters first, rings second: a record counted is a record read.
            self._account(program, writer)
            self._drain(program, writer)
            self._status.unfinished = (
                self._losses.seen("trap")
                - self._losses.lost("trap")
                - self._status.traps
                - self._left_out["trap"]
            )
            if self._status.unfinished <= 0 or time.monotonic_ns() > deadline:
                break
            time.sleep(kernel.tick_ns() / 1e9)
        self._disarm(program, probes)
        self._account(program, writer)
        self._drain(program, writer)

    def _drain(self, program: Program, writer: Writer) -> None:
        # Names last: whoever is in one of the other rings has been introduced before.
        read = {kind: ring.read() for kind, ring in program.rings.items() if kind != "task"}
        self._introduce(program, writer, program.rings["task"].read())
        for kind, records in read.items():
            if len(records):
                self._take(writer, kind, records)

    def _take(self, writer: Writer, kind: str, records: Records) -> None:
        if self._unwanted and "tgid" in (records.dtype.names or ()):
            wanted = ~np.isin(records["tgid"], list(self._unwanted))
            self._left_out[kind] += len(records) - int(wanted.sum())
            records = records[wanted]
        if not len(records):
            return
        writer.append(kind, records)
        self._status.records += len(records)
        if kind == "trap":
            self._status.traps += len(records)
            early = (records["sleep_left_ms"] > 0) | (records["semaphore_result"] < 0)
            self._status.early_returns += int(early.sum())

    # Once for each process, and for each thread of it, that is ever met.
    def _introduce(self, program: Program, writer: Writer, tasks: Records) -> None:
        if not len(tasks):
            return
        tgids = {int(tgid) for tgid in tasks["tgid"]}
        described = {tgid: process.describe(tgid) for tgid in tgids}
        wanted = self._order.filters.vm
        for tgid in tgids:
            if wanted is not None and not matches_vm(described[tgid], wanted):
                self._unwanted.add(tgid)
                program.leave_out(tgid)
        self._take(writer, "task", tasks)
        writer.facts_update({"processes": {str(tgid): described[tgid] for tgid in tgids}})

    def _apply(self, step: Step | None, probes: Probes, writer: Writer) -> None:
        if step is None:
            return
        program, off = probes.program, self._levels.values["TRAPS"]
        if step.level > off and not self._armed:
            self._arm(probes, writer)
        elif step.level == off and self._armed:
            self._account(program, writer)
            self._disarm(program, probes)
        program.tell("LEVEL", step.level)
        record = np.zeros(1, schema.current().records["detail"].dtype)
        record["ns"] = time.monotonic_ns()
        record["measured"], record["limit"] = step.measured, step.limit
        record["level"], record["previous"] = step.level, step.previous
        record["reason"] = schema.current().enums["reason"].values[step.reason]
        record["probes"] = probes.count
        writer.append("detail", record)
        self._status.level = self._levels.name_of(step.level)
        if step.reason in ("EVENTS", "CPU", "ROOM"):
            self._say(_news(step, self._status.level))

    def _arm(self, probes: Probes, writer: Writer) -> None:
        added = probes.arm()
        now = time.monotonic_ns()
        attached = {probe.name for probe in added if probe.backend}
        if {"kvm:kvm_entry", "kvm:kvm_exit"} <= attached:
            probes.program.tell("EXITS", now)
        if "msr:write_msr" in attached:
            probes.program.tell("MSR", now)
        self._armed = True
        writer.facts_update({"armed_ns": now, "probes": [probe.fact() for probe in probes.attached]})
        for probe in added:
            if not probe.backend:
                self._say(f"warning: {probe.name} is not attached: {probe.detail}")

    def _disarm(self, program: Program, probes: Probes) -> None:
        program.tell("EXITS", 0)
        program.tell("MSR", 0)
        probes.disarm()
        if self._armed and program.counters:
            self._unfinished_exits += program.counters.rest()
        self._armed = False

    def _account(self, program: Program, writer: Writer) -> Mapping[str, Runs]:
        runs = program.runs()
        lost = self._losses.update(program.tallies(), runs)
        if len(lost):
            writer.append("lost", lost)
            self._status.lost += int(lost["count"].sum())
        if program.counters:
            self._take(writer, "counts", program.counters.read())
            if program.counters.freed:
                program.widen()
        self._status.seen = self._losses.seen("trap")
        writer.flush()
        self._status.bytes = writer.size
        return runs


def _news(step: Step, level: str) -> str:
    if step.reason == "EVENTS":
        return f"{step.measured:,} records a second, more than {step.limit:,}: now recording {level} only"
    if step.reason == "CPU":
        used, limit = step.measured / 1000, step.limit / 1000
        return (
            f"the recording takes {used:.1f} % of a CPU, more than {limit:.1f} %: now recording {level} only"
        )
    return f"the load is down: recording {level} again"


class _blocked:
    """Within it the signals wait to be fetched by sigtimedwait."""

    def __init__(self, signals: set[signal.Signals]) -> None:
        self._signals = signals

    def __enter__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
