"""Records: compiles, attaches, drains the rings into the file once in a while, and ends clean."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sldtrace.capture.losses import Losses
from sldtrace.capture.probes import Probe, Probes, load
from sldtrace.capture.program import RINGS, Program, Sizes
from sldtrace.host import facts, kernel, process, splitlock
from sldtrace.recording import target
from sldtrace.recording.writer import Writer

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_FLUSH_NS = 1_000_000_000
_SETTLE_NS = 250_000_000


@dataclass(frozen=True)
class Order:
    """What to record.

    path: the file; duration_ns: None means until a signal; tgid: this process only; for tests, a forced
    backend, other ring sizes, and how often the rings are emptied.
    """

    path: Path
    duration_ns: int | None = None
    tgid: int | None = None
    force: bool = False
    backend: str | None = None
    sizes: Sizes = field(default_factory=Sizes)
    poll_ns: int = 50_000_000


@dataclass
class Status:
    """Where the recording stands; counts are records so far."""

    elapsed_ns: int = 0
    traps: int = 0
    early_returns: int = 0
    lost: int = 0
    seen: int = 0
    bytes: int = 0
    ended_by: str = ""
    unfinished: int = 0
    probes: list[Probe] = field(default_factory=list)


class Recorder:
    """One recording, from `run` to its return; `tell` gets the status once a second, `say` a line of news."""

    def __init__(self, order: Order, say: Callable[[str], None], tell: Callable[[Status], None]) -> None:
        self._order = order
        self._say = say
        self._tell = tell
        self._status = Status()
        self._losses = Losses()
        self._armed = False
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
            probes = load(order.tgid, order.sizes, order.backend)
            try:
                self._record(probes.program, probes)
            finally:
                probes.close()
                while signal.sigtimedwait(STOP_SIGNALS, 0):
                    pass
        return self._status

    def _record(self, program: Program, probes: Probes) -> None:
        order, status = self._order, self._status
        opening = facts.read()
        status.probes = probes.attached
        opening["probes"] = [probe.fact() for probe in status.probes]
        opening["filters"] = {"tgid": order.tgid}
        writer = Writer(order.path, opening, force=order.force)
        closing: dict[str, Any] = {"ended_by": "error"}
        try:
            self._rings = {kind: ring for kind in RINGS if (ring := program.ring(kind))}
            # A run that began while its outer probe was missing has left its first microseconds by then.
            time.sleep(2 * kernel.tick_ns() / 1e9)
            start = time.monotonic_ns()
            program.tell("OPEN", start)
            self._say(
                f"recording to {target.shown(order.path)}"
                + (" until Ctrl-C" if order.duration_ns is None else "")
            )
            status.ended_by = self._loop(program, probes, writer, start)
            program.tell("OPEN", 0)
            self._settle(program, writer)
            closing = {
                "ended_by": status.ended_by,
                "split_lock": {"mitigate": splitlock.read().mitigate},
                "seen": {kind: self._losses.seen(kind) for kind in RINGS},
                "unfinished": {"trap": status.unfinished},
                "skipped": {name: count for name, count in program.skipped().items() if count},
            }
        finally:
            writer.close({"clock": facts.clock(), **closing})

    def _loop(self, program: Program, probes: Probes, writer: Writer, start: int) -> str:
        order, status = self._order, self._status
        flushed = start
        while True:
            came = signal.sigtimedwait(self._stop, order.poll_ns / 1e9)
            self._drain(writer)
            if status.traps and not self._armed:
                self._arm(program, probes, writer)
            now = time.monotonic_ns()
            status.elapsed_ns = now - start
            if now - flushed >= _FLUSH_NS:
                flushed = now
                self._account(program, writer)
                self._tell(status)
            if came:
                return signal.Signals(came.si_signo).name
            if order.duration_ns is not None and status.elapsed_ns >= order.duration_ns:
                return "duration"

    # No new run begins now; those under way end within a penalty, unless they wait for the semaphore.
    def _settle(self, program: Program, writer: Writer) -> None:
        deadline = time.monotonic_ns() + _SETTLE_NS
        while True:
            self._account(program, writer)  # counters first, rings second: a record counted is a record read
            self._drain(writer)
            self._status.unfinished = (
                self._losses.seen("trap") - self._losses.lost("trap") - self._status.traps
            )
            if self._status.unfinished <= 0 or time.monotonic_ns() > deadline:
                return
            time.sleep(kernel.tick_ns() / 1e9)

    def _drain(self, writer: Writer) -> None:
        for kind, ring in self._rings.items():
            records = ring.read()
            if not len(records):
                continue
            writer.append(kind, records)
            if kind == "trap":
                self._status.traps += len(records)
                early = (records["sleep_left_ms"] > 0) | (records["semaphore_result"] < 0)
                self._status.early_returns += int(early.sum())
            elif kind == "task":
                tgids = {int(tgid) for tgid in records["tgid"]}  # once for each thread that ever traps
                writer.facts_update({"processes": {str(tgid): process.describe(tgid) for tgid in tgids}})

    def _arm(self, program: Program, probes: Probes, writer: Writer) -> None:
        added = probes.arm()
        now = time.monotonic_ns()
        attached = {probe.name for probe in added if probe.backend}
        if {"kvm:kvm_entry", "kvm:kvm_exit"} <= attached:
            program.tell("EXITS", now)
        if "msr:write_msr" in attached:
            program.tell("MSR", now)
        self._armed = True
        writer.facts_update({"armed_ns": now, "probes": [probe.fact() for probe in self._status.probes]})
        for probe in added:
            if not probe.backend:
                self._say(f"warning: {probe.name} is not attached: {probe.detail}")

    def _account(self, program: Program, writer: Writer) -> None:
        lost = self._losses.update(program.tallies(), program.skipped())
        if len(lost):
            writer.append("lost", lost)
            self._status.lost += int(lost["count"].sum())
        self._status.seen = self._losses.seen("trap")
        writer.flush()
        self._status.bytes = writer.size


class _blocked:
    """Within it the signals wait to be fetched by sigtimedwait."""

    def __init__(self, signals: set[signal.Signals]) -> None:
        self._signals = signals

    def __enter__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
