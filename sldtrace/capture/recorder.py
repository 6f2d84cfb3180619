"""The recorder: attaches the probes, reads the rings, writes the file, and detaches at the end."""

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
from sldtrace.capture.clock_steps import ClockSteps
from sldtrace.capture.cost import Cost
from sldtrace.capture.detail import Detail
from sldtrace.capture.governor import Governor, Limits
from sldtrace.capture.live.detector import LONGEST_PAUSE_NS, Detector
from sldtrace.capture.live.finding_watch import FindingOptions, FindingWatch
from sldtrace.capture.losses import Losses, starts_trap
from sldtrace.capture.newest import Newest
from sldtrace.capture.run_delays import RunDelays
from sldtrace.capture.scheduling import lower_priority
from sldtrace.errors import SldtraceError
from sldtrace.host import facts, kallsyms, kernel, livepatch, split_lock
from sldtrace.host.notify import Notifier
from sldtrace.host.vms import process
from sldtrace.host.vms.names import matches_vm
from sldtrace.model import early_returns, penalty
from sldtrace.recording import rotation, schema, sparse, target
from sldtrace.recording.layout import Records
from sldtrace.recording.retention import RetentionOptions
from sldtrace.recording.rotation import Rotation, RotationOptions
from sldtrace.recording.sink import NoSink, Sink
from sldtrace.recording.tasks import MAX_THREADS
from sldtrace.recording.writer import Writer

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
FINDING = "finding"
"""Status.ended_by where --until ended the recording; otherwise `duration`, or the name of a signal."""

_SECOND_NS = 1_000_000_000
# A record is in the file a second later at most: read after 200 ms, written within 800 ms more.
_ACCOUNT_NS = 800_000_000
_FLUSH_NS = 600_000_000
_SETTLE_NS = 250_000_000


@dataclass(frozen=True)
class RecordOptions:
    """What to record and where to write it; at most one of `retention` and `rotation`."""

    path: Path | None  # None: nothing is written
    duration_ns: int | None = None  # None: until a signal
    filters: Filters = field(default_factory=Filters)
    exits: str = RECENT  # one of sources.EXITS
    limits: Limits = field(default_factory=Limits)
    findings: FindingOptions = field(default_factory=FindingOptions)
    retention: RetentionOptions | None = None
    rotation: RotationOptions | None = None
    force: bool = False  # overwrite an existing file
    folders: tuple[Path, ...] = ()  # in which on_live creates files
    # For tests: one backend only, sizes of the rings, how often they are read.
    backend: str | None = None
    sizes: Sizes = field(default_factory=Sizes)
    poll_ns: int = 200_000_000


@dataclass
class Status:
    """Progress of a recording; all counts are since its start."""

    elapsed_ns: int = 0
    traps: int = 0
    early_returns: int = 0  # of these traps
    records: int = 0
    lost: int = 0
    bytes: int = 0  # of the file that is being written
    level: str = ""  # level of detail
    cpu: float = 0.0  # per cent of one CPU in the last second, recorder and probes
    ended_by: str = ""
    unfinished: int = 0  # traps that had not ended
    cost: dict[str, Any] = field(default_factory=dict)  # see Cost.fact
    path: Path = Path()


@dataclass
class Live:
    """What is known while the recorder runs. detector: loops and sums of the threads; describe: see
    host.vms.process.describe, of a TGID, as far as known; status: it changes."""

    detector: Detector
    describe: Callable[[int], Mapping[str, Any]]
    status: Status


class Recorder:
    """Makes one recording.

    on_message: called with a line of text for the user; on_status: called once a second; on_live: called each
    time the rings have been read, with the time (CLOCK_MONOTONIC, ns); pause_ns: see
    Detector.longest_pause_ns.
    """

    def __init__(
        self,
        options: RecordOptions,
        on_message: Callable[[str], None],
        on_status: Callable[[Status], None],
        on_live: Callable[[Live, int], None] | None = None,
        pause_ns: int = LONGEST_PAUSE_NS,
    ) -> None:
        self._options = options
        self._pause_ns = pause_ns
        self._on_live = on_live
        self._on_message = on_message
        self._on_status = on_status
        self._status = Status(path=options.path or Path())
        self._losses = Losses()
        self._run_delays = RunDelays()
        self._clock_steps = ClockSteps()
        self._described = Newest[Mapping[str, Any]](MAX_THREADS)
        self._filtered_tgids = Newest[None](MAX_THREADS)
        self._filtered = dict.fromkeys(schema.current().records, 0)
        self._callers = Callers([])
        self._last_warning: str | None = None
        # nohup(1) ignores SIGHUP.
        ignored = {each for each in (signal.SIGHUP,) if signal.getsignal(each) == signal.SIG_IGN}
        self._stop = STOP_SIGNALS - ignored

    def run(self) -> Status:
        """Records until the duration has passed, a stop signal comes or --until applies; the last status.

        Raises SldtraceError where recording is impossible or the file cannot be written. All probes are
        detached then, and the file stays readable.
        """
        options = self._options
        # The writer checks again; this one comes before the compiler, which takes seconds.
        if options.path is not None:
            if options.rotation is None:
                target.check(options.path, options.force)
            else:
                rotation.check(options.path)
            if options.retention is not None:
                sparse.require(options.path.parent)
        self._on_message("compiling and attaching the probes")
        # Stop signals stay pending until sigtimedwait, also while the probes are attached or detached.
        with _blocked(STOP_SIGNALS):
            try:
                probes = load(
                    options.filters, options.exits, options.sizes, options.backend, self._interrupted
                )
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
        options, status, program = self._options, self._status, probes.program
        cost, notifier = Cost(), Notifier()
        sink = self._sink(probes)
        self._callers = Callers(program.kvm)
        closing: dict[str, Any] = {"ended_by": "error"}
        detail = Detail(Governor(options.exits, options.limits), probes, sink, self._on_message)
        watch = self._finding_watch()
        for warning in filter(None, (probe.warning for probe in probes.attached)):
            self._on_message(warning)
        if replaced := livepatch.sentence(livepatch.replaced()):
            self._on_message(f"warning: {replaced}: the probes may not see its penalties")
        try:
            self._drop_privileges()
            lower_priority()
            # A caller of split_lock_warn that was entered before its return was hooked has called it after
            # this.
            time.sleep(2 * kernel.tick_ns() / 1e9)
            start = time.monotonic_ns()
            detail.start()
            program.set_control("OPEN", start)
            doing = f"recording to {target.shown(sink.path)}" if options.path is not None else "watching"
            self._on_message(doing + (" until Ctrl-C" if options.duration_ns is None else ""))
            notifier.ready(doing)
            memory.trim()
            status.ended_by = self._loop(program, sink, detail, watch, cost, notifier, start)
            notifier.stopping()
            program.set_control("OPEN", 0)
            # What comes later is not recorded: this is the recording's end, not the time of the last write.
            ended = facts.clock()
            self._drain_remaining(program, sink, detail, watch)
            status.cost = cost.fact()
            closing = {"clock": ended, **self._closing(program, detail)}
        finally:
            cost.close()
            notifier.close()
            sink.close({"clock": facts.clock(), **closing})
            self._report_warning(sink)

    def _sink(self, probes: Probes) -> Sink:
        options = self._options
        if options.path is None:
            return NoSink()
        opening = facts.read()
        opening["probes"] = [probe.fact() for probe in probes.attached]
        opening["filters"] = options.filters.fact()
        opening["exits"] = options.exits
        opening["limits"] = {"events": options.limits.events, "cpu": options.limits.cpu}
        if options.rotation is not None:
            return Rotation(options.path, opening, options.rotation, facts.moment)
        return Writer(options.path, opening, force=options.force, retention=options.retention)

    def _finding_watch(self) -> FindingWatch:
        lock = split_lock.read()
        symbols = kallsyms.generation_symbols()
        rule = penalty.for_kernel(
            kernel.release(), kernel.tick_ns(), mode=lock.mode, mitigate=lock.mitigate, symbols=symbols
        )
        return FindingWatch(
            self._options.findings,
            rule,
            kernel.cores(),
            self._on_message,
            self._describe,
            self._pause_ns,
        )

    def _describe(self, tgid: int) -> Mapping[str, Any]:
        return self._described.get(tgid, {})

    def _drop_privileges(self) -> None:
        options = self._options
        creates_files = options.rotation is not None or options.retention is not None
        own = (options.path.parent,) if options.path is not None and creates_files else ()
        privileges.drop((*own, *options.folders))

    def _closing(self, program: Program, detail: Detail) -> dict[str, Any]:
        status = self._status
        return {
            "ended_by": status.ended_by,
            "split_lock": {"mitigate": split_lock.read().mitigate},
            "kernel": {"replaced": livepatch.replaced()},
            "seen": {kind: self._losses.seen(kind) for kind in program.rings if kind != "lost"},
            "unfinished": {"trap": status.unfinished, "exit": detail.unfinished_exits},
            "filtered": {kind: count for kind, count in self._filtered.items() if count},
            "skipped": {name: one.skipped for name, one in program.runs().items() if one.skipped},
            "cost": status.cost,
        }

    def _loop(
        self,
        program: Program,
        sink: Sink,
        detail: Detail,
        watch: FindingWatch,
        cost: Cost,
        notifier: Notifier,
        start: int,
    ) -> str:
        status, live = self._status, Live(watch.detector, self._describe, self._status)
        then, before, flushed = start, 0, start
        while True:
            stop_signal = self._wait_for_signal()
            traps = status.traps
            self._drain(program, sink, watch)
            now = time.monotonic_ns()
            if status.traps > traps:
                detail.trapped(now)
                sink.compress = detail.compress
            watch.check(now, target.shown(sink.path))
            notifier.alive()
            status.elapsed_ns = now - start
            if self._on_live is not None:
                self._on_live(live, now)
            if now - flushed >= _FLUSH_NS:
                sink.flush()
                flushed = now
            ended, due = self._end_reason(stop_signal, watch, now), now - then >= _ACCOUNT_NS
            # At the end the rest of the last second is accounted too.
            if due or ended:
                runs = self._account(program, sink, watch, cost.times)
                exits = program.counters.exits() if program.counters else 0
                status.cpu = cost.each_second(runs, exits, detail.armed)
            if due:
                events = (status.records + status.lost - before) * _SECOND_NS / (now - then)
                then, before = now, status.records + status.lost
                detail.each_second(now, events, status.cpu)
                sink.compress = detail.compress
                status.level = detail.level
                self._on_status(status)
            if ended:
                return ended

    # Status.ended_by, or None to continue.
    def _end_reason(self, stop_signal: signal.Signals | None, watch: FindingWatch, now: int) -> str | None:
        if stop_signal:
            return stop_signal.name
        if self._options.duration_ns is not None and self._status.elapsed_ns >= self._options.duration_ns:
            return "duration"
        return FINDING if watch.end_ns is not None and now >= watch.end_ns else None

    # Waits until a stop signal comes or the rings have to be read. CPython returns uninitialized memory where
    # the call is interrupted (SIGSTOP, SIGCONT) and times out, so si_signo is checked.
    def _wait_for_signal(self) -> signal.Signals | None:
        received = signal.sigtimedwait(self._stop, self._options.poll_ns / 1e9)
        return next((each for each in self._stop if received and received.si_signo == each), None)

    # New traps are not recorded. Those in progress end within a penalty, unless they wait for the semaphore.
    def _drain_remaining(self, program: Program, sink: Sink, detail: Detail, watch: FindingWatch) -> None:
        deadline = time.monotonic_ns() + _SETTLE_NS
        while True:
            # Counters first, then rings: each event that is counted has its record in the ring.
            self._account(program, sink, watch, False)
            self._drain(program, sink, watch)
            self._status.unfinished = self._traps_in_progress()
            if self._status.unfinished <= 0 or time.monotonic_ns() > deadline:
                break
            time.sleep(kernel.tick_ns() / 1e9)
        detail.end()
        self._account(program, sink, watch, False)
        self._drain(program, sink, watch)
        # The kernel takes a while to detach the probes; more traps may have ended since.
        self._status.unfinished = self._traps_in_progress()
        watch.close(time.monotonic_ns(), target.shown(sink.path))

    # Traps that were seen and have no record yet.
    def _traps_in_progress(self) -> int:
        seen = self._losses.seen("trap") - self._losses.lost("trap")
        return seen - self._status.traps - self._filtered["trap"]

    def _drain(self, program: Program, sink: Sink, watch: FindingWatch) -> None:
        # Tasks last: the task record of each thread in the other rings has been written before.
        read = {kind: ring.read() for kind, ring in program.rings.items() if kind not in ("task", "lost")}
        self._read_tasks(program, sink, program.rings["task"].read())
        for kind, records in read.items():
            if len(records):
                watch.add(kind, self._append(sink, kind, records))
        if "stall" in read and (names := self._callers.update(read["stall"])):
            sink.facts_update({"kvm": {"functions": names}})

    def _append(self, sink: Sink, kind: str, records: Records) -> Records:
        if self._filtered_tgids and "tgid" in (records.dtype.names or ()):
            selected = ~np.isin(records["tgid"], list(self._filtered_tgids))
            self._filtered[kind] += len(records) - int(selected.sum())
            records = records[selected]
        if len(records):
            sink.append(kind, records)
            self._status.records += len(records)
        if kind == "trap":
            self._run_delays.trapped(records)
            self._status.traps += len(records)
            self._status.early_returns += int(early_returns.returned_early(records).sum())
        return records

    # Describes the processes of new threads, and filters those that --vm does not select.
    def _read_tasks(self, program: Program, sink: Sink, tasks: Records) -> None:
        if not len(tasks):
            return
        for tgid in {int(tgid) for tgid in tasks["tgid"]}:
            # A process that has ended keeps its earlier description.
            if described := process.describe(tgid):
                self._described[tgid] = described
            vm = self._options.filters.vm
            if vm is None:
                continue
            if matches_vm(self._described.get(tgid, {}), vm):
                self._filtered_tgids.pop(tgid, None)  # a PID may be used again
            else:
                self._filtered_tgids[tgid] = None
                program.filter_out(tgid)
        tasks = self._append(sink, "task", tasks)
        self._run_delays.started(tasks)
        known = {
            str(tgid): self._described[tgid] for tgid in set(tasks["tgid"].tolist()) & self._described.keys()
        }
        sink.facts_update({"processes": known})

    def _account(
        self, program: Program, sink: Sink, watch: FindingWatch, every_run: bool
    ) -> Mapping[str, Runs]:
        runs = program.runs() if every_run else program.runs(starts_trap)
        lost = self._losses.update(program.event_counts(), runs, program.rings["lost"].read())
        if len(lost):
            sink.append("lost", lost)
            self._status.lost += int(lost["count"].sum())
        if program.counters:
            watch.add("counts", self._append(sink, "counts", program.counters.read()))
        # Before the first one their memory is not touched: it would be mapped into the recorder's.
        if program.bus_locks and self._losses.seen("bus_lock"):
            watch.add("bus_lock", self._append(sink, "bus_lock", program.bus_locks.read()))
        self._append(sink, "schedstat", self._run_delays.update())
        if steps := self._clock_steps.check():
            sink.facts_update(steps)
        sink.flush()
        self._report_warning(sink)
        self._status.path, self._status.bytes = sink.path, sink.size
        return runs

    def _report_warning(self, sink: Sink) -> None:
        if sink.warning is not None and sink.warning != self._last_warning:
            self._on_message(f"warning: {sink.warning}")
        self._last_warning = sink.warning


class _blocked:
    """A context in which these signals are blocked: they stay pending for sigtimedwait."""

    def __init__(self, signals: set[signal.Signals]) -> None:
        self._signals = signals

    def __enter__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
