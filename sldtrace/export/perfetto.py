"""A recording as a trace of Perfetto (ui.perfetto.dev), in protobuf.

Field numbers: protos/perfetto/trace/ of Perfetto 56. All packets are one sequence; names are interned in the
first one.
"""

from collections.abc import Mapping
from typing import BinaryIO, ClassVar

import numpy as np

from sldtrace.dataset.folding import stops
from sldtrace.dataset.trace import Trace
from sldtrace.engine.columns import Columns
from sldtrace.engine.fold import Batch, Fold
from sldtrace.engine.slices import slices
from sldtrace.engine.tables import Array
from sldtrace.engine.traps import Traps
from sldtrace.engine.windows import WindowTracker
from sldtrace.export.protobuf import FIXED64, Message, Slot, Template, data, number
from sldtrace.host import signals
from sldtrace.recording.losses import named_losses
from sldtrace.text.phrases import length, plural

WRITTEN = frozenset({"trap", "detection", "stall", "migrate", "task", "lost"})
"""Kinds of record that are in the trace; of signals, those that ended a sleep or a wait."""

_SEQUENCE = number(10, 1)
_REALTIME, _MONOTONIC = 1, 3  # protos/perfetto/common/builtin_clock.proto
_BEGIN, _END, _INSTANT, _COUNTER = 1, 2, 3, 4  # TrackEvent.Type
_CATEGORY = 1
_MOST_COUNTS = 100_000
_SECOND = 1_000_000_000
# Of a thread each kind of wait has a track: one may begin in another, and slices of a track nest.
_WAITS = {1: "waits for kvm->srcu", 2: "waits for a mutex"}  # enum sld_stall_kind
_PID = 0x7FFF_FFFF  # they are int32
_LOST = ("ns", "count", "kind", "cause", "cpu")

_NAMES = (
    "early return",
    "completed",
    "not penalized",
    "end not seen",
    "fatal",
    "split-lock trap",
    "sleep",
    "wait for the semaphore",
    "guest",
    "detection off",
    "moved to this CPU",
    "wait in KVM",
)
_IID = {name: iid for iid, name in enumerate(_NAMES, 1)}
_ADDRESS = 1  # the only interned name of an annotation


def _event(type_: int, *parts: bytes | Slot | Message) -> Template:
    event = Message(11, [number(9, type_), Slot("track", 11, 5), number(3, _CATEGORY), *parts])
    return Template(Message(1, [Slot("ns", 8, 9), _SEQUENCE, number(13, 2), event]))


_NAME = Slot("name", 10, 2)
_FLOW = Slot("flow", 47, 8, FIXED64)
_TEMPLATES = {
    "begin": _event(_BEGIN, _NAME),
    "end": _event(_END),
    "end by signal": _event(_END, Slot("flow", 48, 8, FIXED64)),
    "trap": _event(_INSTANT, _NAME, Message(4, [number(1, _ADDRESS), Slot("address", 7, 10)])),
    "instant": _event(_INSTANT, _NAME),
    "signal": _event(_INSTANT, _NAME, _FLOW),
    "count": _event(_COUNTER, Slot("value", 30, 9)),
}


class _Events:
    # The events of a slice, to be written in order of time; of the same time in order of `rank`.
    def __init__(self) -> None:
        self._parts: list[tuple[str, Array, Array, Mapping[str, Array]]] = []

    def add(self, template: str, ns: Array, rank: Array, **values: Array) -> None:
        if len(ns):
            self._parts.append((template, ns, rank, values))

    def bytes(self) -> bytes:
        if not self._parts:
            return b""
        sizes = np.concatenate([np.full(len(ns), _TEMPLATES[name].size) for name, ns, _, _ in self._parts])
        times, ranks = (np.concatenate([part[at] for part in self._parts]) for at in (1, 2))
        order = np.lexsort((ranks, times))
        places = np.empty(len(order), np.int64)
        places[order] = np.cumsum(sizes[order]) - sizes[order]
        found = np.empty(int(sizes.sum()), np.uint8)
        begin = 0
        for name, ns, _, values in self._parts:
            template = _TEMPLATES[name]
            at = places[begin : begin + len(ns)]
            begin += len(ns)
            found[at[:, None] + np.arange(template.size)] = template.fill(len(ns), {"ns": ns, **values})
        return found.tobytes()


class PerfettoWriter:
    """A summary of the fold that keeps nothing but tracks and counts: it writes each batch.

    Per process a track with the traps a second; per thread slices for traps, and in them for the sleep and
    the wait for the semaphore, for the guest before them, and for its waits in KVM; an instant for each
    trap. Per core slices in which detection was off, and moves of threads. From the signal, on its sender's
    track, a flow leads to the sleep or the wait that it ended. An instant for each `lost` record, at the time
    of the first loss that it counts.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap", "detection", "stall", "migrate", "lost"})

    def __init__(self, trace: Trace, file: BinaryIO) -> None:
        self._trace = trace
        self._file = file
        self._tracks: dict[tuple[str, int, int], int] = {}
        self._signal_names: dict[int, int] = {}
        self._flows = 0
        self._windows = WindowTracker(trace.core, stops(trace))
        start, end = trace.span_ns
        self._start = start
        self._step = max(_SECOND, -(-(end - start) // _MOST_COUNTS))
        self._counts: dict[int, Array] = {}
        self._head()

    def update(self, batch: Batch) -> None:
        """Writes the next batch."""
        events = _Events()
        if len(batch.traps):
            self._traps(batch.traps, events)
        self._stalls(batch, events)
        self._moves(batch, events)
        self._detection(self._windows.update(batch), events)
        self._losses(batch.records("lost"))
        self._file.write(events.bytes())

    def finish(self) -> None:
        """Writes what is known at the end: windows that are open, counters, losses."""
        events = _Events()
        self._detection(self._windows.finish(), events)
        for tgid, counts in self._counts.items():
            track = self._track("counter", tgid)
            times = self._start + np.arange(len(counts), dtype=np.int64) * self._step
            rate = np.rint(counts * _SECOND / self._step).astype(np.int64)
            changed = np.append(True, rate[1:] != rate[:-1])
            self._add(events, "count", times[changed], 0, track, value=rate[changed])
        self._file.write(events.bytes())

    def _add(
        self,
        events: _Events,
        template: str,
        ns: Array,
        rank: int | Array,
        track: int | Array,
        **values: Array,
    ) -> None:
        ranks, tracks = (np.broadcast_to(np.asarray(each, np.int64), len(ns)) for each in (rank, track))
        events.add(template, ns, ranks, track=tracks, **values)

    def _packet(self, *parts: bytes) -> None:
        self._file.write(data(1, b"".join((*parts, _SEQUENCE))))

    def _head(self) -> None:
        interned = data(1, number(1, _CATEGORY) + data(2, "split lock"))
        interned += b"".join(data(2, number(1, iid) + data(2, name)) for name, iid in _IID.items())
        interned += data(3, number(1, _ADDRESS) + data(2, "address"))
        defaults = number(58, _MONOTONIC)
        self._packet(number(13, 1), data(12, interned), data(59, defaults))
        start, _ = self._trace.span_ns
        wall = self._trace.wall_ns(start)
        clocks = data(1, number(1, _MONOTONIC) + number(2, start))
        if wall is not None:
            clocks += data(1, number(1, _REALTIME) + number(2, wall))
        self._packet(data(6, clocks + number(2, _MONOTONIC)))
        discarded = self._trace.recording.discarded
        for key, count in (discarded.lost if discarded else {}).items():
            self._loss(start, key, count, ", before the first record")

    def _losses(self, lost: Columns) -> None:
        since = lost["since_ns"] if "since_ns" in (lost.dtype.names or ()) else np.zeros(len(lost), np.uint64)
        rows = zip(since.tolist(), *(lost[name].tolist() for name in _LOST), strict=True)
        for first, last, count, *key in rows:
            span = f" in {length(last - first)}" if last > first else ""
            self._loss(first or last, tuple(key), count, span if first else ", or earlier")

    # key: numbers of the kind and the cause, and the CPU.
    def _loss(self, ns: int, key: tuple[int, ...], count: int, when: str) -> None:
        kind, cause, cpu = key
        (loss,) = named_losses({(kind, cause, cpu): count}, self._trace.recording.schema)
        name = f"{plural(loss.count, f'{loss.kind} record')} lost ({loss.cause}){when}"
        event = number(9, _INSTANT) + number(11, self._track("lost", 0)) + data(22, "lost") + data(23, name)
        self._packet(number(8, ns), number(13, 2), data(11, event))

    # The track of a thing, which is described at its first use.
    def _track(self, kind: str, which: int, tgid: int = 0, vcpu: int | None = None) -> int:
        known = self._tracks.get((kind, which, tgid))
        if known is not None:
            return known
        parent = 0
        if kind in ("thread", "counter", "waits", *_WAITS.values()):
            parent = self._track("process", which if kind == "counter" else tgid)
        uuid = self._tracks[kind, which, tgid] = len(self._tracks) + 1
        self._packet(data(60, number(1, uuid) + self._described(kind, which, tgid, vcpu, parent)))
        return uuid

    def _described(self, kind: str, which: int, tgid: int, vcpu: int | None, parent: int) -> bytes:
        below = number(5, parent) if parent else b""
        match kind:
            case "process":
                who = self._trace.subject(which, which, None)
                name = f"VM {who.vm}" if who.vm else who.process or "process"
                return data(3, number(1, which & _PID) + data(6, name))
            case "thread":
                who = self._trace.subject(tgid, which, vcpu)
                name = who.thread or "thread" if who.vcpu is None else f"vCPU {who.vcpu}"
                ids = number(1, tgid & _PID) + number(2, which & _PID)
                return below + data(4, ids + data(5, name))
            case "waits for kvm->srcu" | "waits for a mutex" | "waits":
                thread = self._trace.subject(tgid, which, None).thread or "thread"
                return below + data(2, f"{thread} {which} {kind}")
            case "counter":
                return below + data(2, "traps a second") + data(8, data(6, "traps/s"))
            case "cpu":
                return data(2, f"CPU {which}")
        return data(2, {"lost": "lost records"}.get(kind, "timers and kernel"))

    def _signal_name(self, signal: int) -> int:
        iid = self._signal_names.get(signal)
        if iid is None:
            iid = self._signal_names[signal] = len(_NAMES) + len(self._signal_names) + 1
            self._packet(number(13, 2), data(12, data(2, number(1, iid) + data(2, signals.name(signal)))))
        return iid

    def _traps(self, traps: Traps, events: _Events) -> None:
        tgid, tid, vcpu = (traps[name] for name in ("tgid", "tid", "vcpu"))
        tracks = [
            self._track("thread", int(tid[at]), int(tgid[at]), int(vcpu[at]) if vcpu[at] >= 0 else None)
            for at in traps.heads.tolist()
        ]
        track = np.repeat(tracks, traps.lengths)
        # Those of the same time are in this order: guest, trap, sleep, wait, end of the trap.
        rank = np.arange(len(traps), dtype=np.int64) * 16
        start, end, sleep, wait = (traps[name] for name in ("start_ns", "end_ns", "sleep_ns", "semaphore_ns"))
        # A slice does not end after the one that it is in.
        woken = np.minimum(start + sleep, end)
        ready = np.minimum(woken + wait, end)
        self._guest(traps, track, rank, events)
        self._add(events, "begin", start, rank + 2, track, name=_outcomes(traps))
        trapped = np.full(len(traps), _IID["split-lock trap"])
        self._add(events, "trap", start, rank + 3, track, name=trapped, address=traps["rip"])
        flow = np.zeros(len(traps), np.int64)
        cut = traps.early & (traps["signal_ns"] > 0)
        flow[cut] = self._flows + 1 + np.arange(np.count_nonzero(cut))
        self._flows += int(np.count_nonzero(cut))
        slept, waited, at_semaphore = traps.flag("SLEPT"), traps.flag("SEMAPHORE"), traps.at_semaphore
        self._span(events, "sleep", slept, start, woken, rank + 4, track, flow * ~at_semaphore)
        self._span(
            events, "wait for the semaphore", waited, woken, ready, rank + 6, track, flow * at_semaphore
        )
        self._add(events, "end", end, rank + 8, track)
        self._signals(traps, cut, np.where(at_semaphore, ready, woken), rank + 1, flow, events)
        for at, count in zip(traps.heads.tolist(), traps.lengths.tolist(), strict=True):
            self._count(int(tgid[at]), start[at : at + count])

    # A slice for each of those that hold. flow: of the signal that ended it, 0 for none.
    def _span(
        self,
        events: _Events,
        name: str,
        holds: Array,
        start: Array,
        end: Array,
        rank: Array,
        track: Array,
        flow: Array,
    ) -> None:
        names = np.full(np.count_nonzero(holds), _IID[name])
        self._add(events, "begin", start[holds], rank[holds], track[holds], name=names)
        plain, cut = holds & (flow == 0), holds & (flow > 0)
        self._add(events, "end", end[plain], rank[plain] + 1, track[plain])
        self._add(events, "end by signal", end[cut], rank[cut] + 1, track[cut], flow=flow[cut])

    # Where the guest time lies between two traps is not recorded: directly before the second one.
    def _guest(self, traps: Traps, track: Array, rank: Array, events: _Events) -> None:
        known = traps.flag("EXITS_WATCHED") & traps.has_previous & (traps["guest_ns"] > 0)
        start = traps["start_ns"][known]
        begin = np.maximum(start - traps["guest_ns"][known], traps.previous("end_ns")[known])
        names = np.full(len(start), _IID["guest"])
        self._add(events, "begin", np.minimum(begin, start), rank[known], track[known], name=names)
        self._add(events, "end", start, rank[known] + 1, track[known])

    def _signals(
        self, traps: Traps, cut: Array, ended: Array, rank: Array, flow: Array, events: _Events
    ) -> None:
        # The tracepoint comes after the wake-up: the thread may have run before it.
        ns = np.minimum(traps["signal_ns"], ended)
        key = traps["sender_tgid"].astype(np.uint64) << np.uint64(32) | traps["sender_tid"]
        for sender in np.unique(key[cut]).tolist():
            tgid, tid = sender >> 32, sender & 0xFFFF_FFFF
            track = self._track("thread", tid, tgid) if tid else self._track("timers", 0)
            mine = cut & (key == sender)
            signal = traps["signal"]
            for each in np.unique(signal[mine]).tolist():
                chosen = mine & (signal == each)
                names = np.full(np.count_nonzero(chosen), self._signal_name(each))
                self._add(events, "signal", ns[chosen], rank[chosen], track, name=names, flow=flow[chosen])

    def _count(self, tgid: int, times: Array) -> None:
        at = np.maximum(times - self._start, 0) // self._step
        counts = self._counts.get(tgid, np.zeros(0, np.int64))
        most = int(at.max()) + 2
        if most > len(counts):
            counts = np.append(counts, np.zeros(most - len(counts), np.int64))
        found = np.bincount(at, minlength=len(counts))
        self._counts[tgid] = counts + found

    def _stalls(self, batch: Batch, events: _Events) -> None:
        stalls = batch.records("stall")
        fields = ("tgid", "tid", "what")
        for key in sorted(set(zip(*(stalls[name].tolist() for name in fields), strict=True))):
            mine = stalls[
                np.all([stalls[name] == each for name, each in zip(fields, key, strict=True)], axis=0)
            ]
            tgid, tid, what = key
            track = self._track(_WAITS.get(what, "waits"), tid, tgid)
            start, end = (mine[name].astype(np.int64) for name in ("ns", "end_ns"))
            rank = np.arange(len(mine)) * 16
            self._add(events, "begin", start, rank + 2, track, name=np.full(len(mine), _IID["wait in KVM"]))
            self._add(events, "end", np.maximum(start, end), rank + 3, track)

    def _moves(self, batch: Batch, events: _Events) -> None:
        moves = batch.records("migrate")
        for cpu in np.unique(moves["to_cpu"]).tolist():
            ns = moves["ns"][moves["to_cpu"] == cpu].astype(np.int64)
            names = np.full(len(ns), _IID["moved to this CPU"])
            self._add(events, "instant", ns, 0, self._track("cpu", cpu), name=names)

    def _detection(self, windows: Array, events: _Events) -> None:
        for core in np.unique(windows["core"]).tolist():
            mine = windows[windows["core"] == core]
            track, rank = self._track("cpu", core), np.arange(len(mine)) * 16
            names = np.full(len(mine), _IID["detection off"])
            self._add(events, "begin", mine["start_ns"], rank + 2, track, name=names)
            self._add(events, "end", np.maximum(mine["start_ns"], mine["end_ns"]), rank + 3, track)


def _outcomes(traps: Traps) -> Array:
    whole = traps.flag("HANDLED") & ~traps.early & ~traps.flag("RETURN_MISSED")
    slept = traps.flag("SLEPT")
    holds = [traps.early, whole & slept, whole & ~slept, ~traps.flag("HANDLED")]
    names = [_IID[name] for name in ("early return", "completed", "not penalized", "fatal")]
    return np.select(holds, names, _IID["end not seen"])


def write(trace: Trace, file: BinaryIO) -> None:
    """The whole trace."""
    writer = PerfettoWriter(trace, file)
    fold = Fold([writer])
    fold.run(slices(trace.recording, fold.kinds))
    writer.finish()
