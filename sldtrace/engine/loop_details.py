"""What else happened to the threads of loops while they looped: a second fold, when the loops are known.

Signals, VM exits, moves to other CPUs, and other penalties, between the first and the last loop of each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from sldtrace.engine.fold import Batch
from sldtrace.engine.loops import Loop
from sldtrace.engine.quantiles import Quantiles
from sldtrace.engine.tables import Array
from sldtrace.engine.threads import Threads
from sldtrace.engine.traps import Traps
from sldtrace.engine.windows import WindowTracker
from sldtrace.model.early_returns import Bools
from sldtrace.recording.layout import Records

SAMPLE = 1 << 16
"""Traps of one thread that are kept, and as many signals: the first ones."""

SAMPLES = 1 << 18
"""The same of all threads."""

PER_THREAD = 16
"""Loops of one thread of which details are found: the longest. The others have the signals of the first."""

MOST_ADDRESSES = 1 << 17
"""Pairs of a loop and another address that are kept."""

MOST_SIGNALS = 1 << 16
"""Pairs of a loop and a signal (number, code, sender) that are counted by themselves."""

_SIGNAL = ("signal", "signal_code", "sender_tgid", "sender_tid")

Key = tuple[int, int, int, int, bool]
"""Number, si_code, TGID and TID of the sender; sent to the process? Without signal: an Ending, zeros."""


@dataclass
class Signalled:
    """How often one signal came to one thread, in the traps and in the records of signals.

    ended: traps that it ended; first_ns: start of the first of them; records: of it; last_ns: of the last.
    """

    series: int  # of the gaps between traps in a row; the next one is of the gaps between records
    ended: int = 0
    first_ns: int = np.iinfo(np.int64).max
    records: int = 0
    last_ns: int = -1


@dataclass
class Details:
    """Of the time from the start of a loop's first trap to the end of its last one.

    signals: of the thread and its process, and what else ended its sleeps; exits, other_exits: records
    of VM exits in loops, and those not by #AC; addresses: other guest addresses in them; elsewhere: stays on
    cores, after a move, while detection was off there and the thread was not in a trap of the loop all the
    time; others: other threads with penalties; traps, sent: the first traps and signal records, see SAMPLE.
    """

    signals: dict[Key, Signalled] = field(default_factory=dict)
    exits: int = 0
    other_exits: int = 0
    addresses: int = 0
    elsewhere: int = 0
    others: int = 0
    traps: list[Records] = field(default_factory=list)
    sent: list[Records] = field(default_factory=list)


class LoopDetails:
    """Finds the details of some loops.

    spans: those of each loop, as LoopSummary.spans; semaphore: for which loops to count other threads;
    split_lock: of exit records, which are by #AC; core: of a CPU; stops: see WindowTracker.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap", "detection", "signal", "exit", "migrate"})

    def __init__(
        self,
        loops: Sequence[Loop],
        spans: Sequence[Array],
        semaphore: Sequence[bool],
        split_lock: Callable[[Records], Bools],
        core: Callable[[int], int],
        stops: Sequence[int],
    ) -> None:
        self.loops = loops
        self.found = [Details() for _ in loops]
        self._split_lock = split_lock
        self._core = core
        self._windows = WindowTracker(core, stops)
        self._stays: dict[int, tuple[int, int, int]] = {}  # by loop: since, core, end of the trap then or -1
        self._start = np.array([each.start_ns for each in loops], np.int64)
        self._end = np.array([each.end_ns for each in loops], np.int64)
        self._rip = np.array([each.rip for each in loops], np.uint64)
        self._rounds = _rounds(loops)
        self._semaphore = np.flatnonzero(np.array(semaphore, bool))
        self._penalized = [np.zeros(0, bool) for _ in self._semaphore]
        whose = np.repeat(np.arange(len(loops)), [len(each) for each in spans])
        self._span_loop: Array = whose
        self._span_start, self._span_end = (
            np.concatenate([np.zeros(0, np.int64), *(each[name] for each in spans)])
            for name in ("start", "end")
        )
        self._gaps = Quantiles()  # two series for each signal of each loop: in traps, and in records
        self._series = 0
        self._addresses: list[Array] = []
        self._sample = max(min(SAMPLE, SAMPLES // max(len(loops), 1)), 64)

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        traps, threads = batch.traps, batch.threads
        self._windows.update(batch)
        signals, exits, moves = (batch.records(kind) for kind in ("signal", "exit", "migrate"))
        for loops in self._rounds:
            of_thread: Array = np.full(len(threads), -1, np.int64)
            for loop in loops:
                found = threads.look_up(self.loops[loop].tgid, self.loops[loop].tid)
                if found is not None:
                    of_thread[found] = loop
            if len(traps):
                self._add_traps(traps, of_thread)
            if len(exits):
                self._add_exits(exits, _owners(threads, exits, of_thread))
            if len(moves):
                self._add_moves(moves, traps, threads, loops)
            if len(signals):
                self._add_signals(signals, loops)
        if len(traps):
            self._add_others(traps, threads)
            now = int(traps["start_ns"].max())
            for loop in [each for each in self._stays if self._end[each] <= now]:
                self._end_stay(loop)

    def quartiles(self, signal: Signalled) -> list[float] | None:
        """The quartiles of the gaps between two signals in a row; None: there is no gap.

        Of the signal records, which have those that ended no sleep as well; else of the traps.
        """
        for series in (signal.series + 1, signal.series):
            if self._gaps.count(series):
                return self._gaps.of(series, [0.25, 0.5, 0.75])
        return None

    def finish(self) -> None:
        """Sets what is known only at the end."""
        for loop in list(self._stays):
            self._end_stay(loop)
        for loop, penalized in zip(self._semaphore.tolist(), self._penalized, strict=True):
            self.found[loop].others = int(np.count_nonzero(penalized))
        if self._addresses:
            pairs = np.unique(np.concatenate(self._addresses))
            counts = np.bincount(pairs["loop"], minlength=len(self.loops))
            for each, count in zip(self.found, counts.tolist(), strict=True):
                each.addresses = count
        detailed = {(self.loops[loop].tgid, self.loops[loop].tid): self.found[loop] for loop in self._first}
        for loop in set(range(len(self.loops))) - {each for loops in self._rounds for each in loops.tolist()}:
            other = detailed[self.loops[loop].tgid, self.loops[loop].tid]
            self.found[loop] = Details(other.signals, traps=other.traps, sent=other.sent)

    @property
    def _first(self) -> list[int]:
        found: list[int] = self._rounds[0].tolist() if self._rounds else []
        return found

    def _add_traps(self, traps: Traps, of_thread: Array) -> None:
        segment = of_thread[traps.who]
        if (segment < 0).all():
            return
        loop = np.repeat(segment, traps.lengths)
        enter = traps["start_ns"]
        mine = (loop >= 0) & (enter >= self._start[loop]) & (enter <= self._end[loop])
        for at in np.flatnonzero(np.logical_or.reduceat(mine, traps.heads)).tolist():
            head = int(traps.heads[at])
            rows = head + np.flatnonzero(mine[head : head + int(traps.lengths[at])])
            self._keep_sample(self.found[int(segment[at])].traps, traps.records, rows)
        # Runs of traps of one thread that follow each other and have the same signal.
        last = traps.last
        fields, earlier = (
            [each.ended_by, *(each[name] for name in _SIGNAL[1:]), each.flag("SIGNAL_GROUP")]
            for each in (traps, last)
        )
        same: Bools = np.ones(len(traps), bool)
        for column, first in zip(fields, earlier, strict=True):
            same &= column == traps.before(column, first)
        known = (segment >= 0) & (last["start_ns"] >= self._start[segment])
        mine_before = traps.before(mine, known & (last["start_ns"] <= self._end[segment]))
        ended = mine & (traps.ended_by != 0)
        begins = ~same | (mine != mine_before)
        begins[traps.heads] = True
        runs = np.flatnonzero(begins)
        lengths = np.diff(runs, append=len(traps))
        runs, lengths = runs[ended[runs]], lengths[ended[runs]]
        if not len(runs):
            return
        keys = np.stack([loop[runs], *(column[runs].astype(np.int64) for column in fields)])
        distinct, position, inverse = np.unique(keys, axis=1, return_index=True, return_inverse=True)
        inverse = inverse.reshape(-1)
        counts = np.bincount(inverse, weights=lengths).astype(np.int64)
        series = np.full(len(position), -1, np.int64)
        for each in range(len(position)):
            where, *key = distinct[:, each].tolist()
            signal = self._signal(where, (key[0], key[1], key[2], key[3], bool(key[4])))
            if signal is not None:
                signal.first_ns = min(signal.first_ns, int(enter[runs[position[each]]]))
                signal.ended += int(counts[each])
                series[each] = signal.series
        of_row = np.full(len(traps), -1, np.int64)
        of_row[_ranges(runs, lengths)] = np.repeat(series[inverse], lengths)
        follows = same & mine_before & (of_row >= 0) & (traps.ended_by > 0)
        gaps = traps["signal_ns"] - traps.previous("signal_ns")
        self._gaps.add(of_row[follows], gaps[follows])

    def _signal(self, loop: int, key: Key) -> Signalled | None:
        signals = self.found[loop].signals
        found = signals.get(key)
        if found is None and self._series < 2 * MOST_SIGNALS:
            found = signals[key] = Signalled(self._series)
            self._series += 2
        return found

    def _keep_sample(self, kept: list[Records], records: Callable[[Array], Records], rows: Array) -> None:
        room = self._sample - sum(map(len, kept))
        if room > 0 and len(rows):
            kept.append(records(rows[:room]).copy())

    def _add_exits(self, exits: Records, loop: Array) -> None:
        mine = np.flatnonzero(loop >= 0)
        mine = mine[self._in_loop(loop[mine], exits["ns"][mine].astype(np.int64))]
        if not len(mine):
            return
        exits, loop = exits[mine], loop[mine]
        count = np.bincount(loop, minlength=len(self.loops))
        others = np.bincount(loop[~self._split_lock(exits)], minlength=len(self.loops))
        for each in np.flatnonzero(count).tolist():
            self.found[each].exits += int(count[each])
            self.found[each].other_exits += int(others[each])
        away = exits["rip"] != self._rip[loop]
        # As plain numbers, and then the few that are distinct as pairs: numpy sorts pairs slowly.
        distinct, number = np.unique(exits["rip"][away], return_inverse=True)
        keys = np.unique(loop[away] * np.int64(max(len(distinct), 1)) + number.reshape(-1))
        pairs = np.zeros(len(keys), [("loop", "i8"), ("rip", "u8")])
        pairs["loop"], place = np.divmod(keys, max(len(distinct), 1))
        pairs["rip"] = distinct[place]
        known = np.unique(np.concatenate([*self._addresses, pairs]))
        self._addresses = [known[:MOST_ADDRESSES]]

    # For each moment in a loop's thread: is it in one of its spans?
    def _in_loop(self, loop: Array, ns: Array) -> Bools:
        if not len(ns):
            return np.zeros(0, bool)
        near = np.flatnonzero((self._span_start <= ns.max()) & (self._span_end >= ns.min()))
        if not len(near):
            return np.zeros(len(ns), bool)
        # By loop, then by time; of equal times the span comes first.
        both = np.concatenate([self._span_loop[near], loop])
        times = np.concatenate([self._span_start[near], ns])
        order = np.lexsort((np.arange(len(both)) >= len(near), times, both))
        newest = np.maximum.accumulate(np.where(order < len(near), np.arange(len(order)), -1))
        place = np.empty(len(order), np.int64)
        place[order] = np.where(newest >= 0, order[newest], -1)
        span = place[len(near) :]
        found: Bools = (
            (span >= 0) & (self._span_loop[near[span]] == loop) & (ns <= self._span_end[near[span]])
        )
        return found

    def _add_moves(self, moves: Records, traps: Traps, threads: Threads, loops: Array) -> None:
        by_tid: dict[int, list[int]] = {}
        for loop in loops.tolist():
            by_tid.setdefault(self.loops[loop].tid, []).append(loop)
        order = np.argsort(moves["tid"], kind="stable")
        moves = moves[order]
        heads = np.flatnonzero(np.append(True, moves["tid"][1:] != moves["tid"][:-1]))
        for mine in np.split(moves, heads[1:]):
            for loop in by_tid.get(int(mine["tid"][0]), []):
                ns = mine["ns"].astype(np.int64)
                inside = (ns >= self._start[loop]) & (ns <= self._end[loop])
                if inside.any():
                    ends = self._trap_ends(traps, threads, loop, ns[inside])
                    self._add_stays(loop, ns[inside], mine["to_cpu"][inside], ends)

    # Each move ends the stay before it.
    def _add_stays(self, loop: int, ns: Array, cpus: Array, trap_ends: Array) -> None:
        cores = np.array([self._core(cpu) for cpu in cpus.tolist()], np.int64)
        stays = np.stack([ns, cores, trap_ends])
        if loop in self._stays:
            stays = np.concatenate([np.array(self._stays[loop])[:, None], stays], axis=1)
        since, core, trap_end = stays[:, :-1]
        until = stays[0, 1:]
        off = self._windows.overlapping(core, since, until) & (trap_end < until)
        self.found[loop].elsewhere += int(np.count_nonzero(off))
        self._stays[loop] = int(ns[-1]), int(cores[-1]), int(trap_ends[-1])

    def _end_stay(self, loop: int) -> None:
        since, core, trap_end = self._stays.pop(loop)
        until = self._end[[loop]]
        off = self._windows.overlapping(np.array([core]), np.array([since]), until) & (trap_end < until)
        self.found[loop].elsewhere += int(off[0])

    # For each moment the end of the trap in this loop that began before it, if it is the thread's last one.
    def _trap_ends(self, traps: Traps, threads: Threads, loop: int, ns: Array) -> Array:
        number = threads.look_up(self.loops[loop].tgid, self.loops[loop].tid)
        at = np.flatnonzero(traps.who == number)
        if number is None or not len(at):
            return np.full(len(ns), -1)
        head, length = int(traps.heads[at[0]]), int(traps.lengths[at[0]])
        rows = slice(head, head + length)
        last = traps.last
        enter = np.append(last["start_ns"][at], traps["start_ns"][rows])
        leave = np.append(last["end_ns"][at], traps["end_ns"][rows])
        early = np.append(last.early[at], traps.early[rows])
        rip = np.append(last["rip"][at], traps["rip"][rows])
        chosen = early & (rip == self._rip[loop]) & self._in_loop(np.full(len(enter), loop), enter)
        place = np.searchsorted(enter, ns, "right") - 1
        return np.where((place >= 0) & chosen[np.maximum(place, 0)], leave[np.maximum(place, 0)], -1)

    def _add_signals(self, signals: Records, loops: Array) -> None:
        tids, tgids = np.unique(signals["tid"]), np.unique(signals["tgid"][signals["tid"] == 0])
        for loop in loops.tolist():
            who = self.loops[loop]
            to_thread, to_process = np.isin(who.tid, tids), np.isin(who.tgid, tgids)
            if not to_thread and not to_process:
                continue
            group = (signals["tid"] == 0) & (signals["tgid"] == who.tgid)
            ns = signals["ns"].astype(np.int64)
            mine = (group | (signals["tid"] == who.tid)) & (ns >= who.start_ns) & (ns <= who.end_ns)
            rows = np.flatnonzero(mine)
            if not len(rows):
                continue
            self._keep_sample(self.found[loop].sent, lambda chosen: signals[chosen], rows)
            ids = np.stack([signals[name][rows].astype(np.int64) for name in _SIGNAL] + [group[rows]])
            distinct, inverse = np.unique(ids, axis=1, return_inverse=True)
            inverse = inverse.reshape(-1)
            for each in range(distinct.shape[1]):
                key = distinct[:, each].tolist()
                signal = self._signal(loop, (key[0], key[1], key[2], key[3], bool(key[4])))
                if signal is None:
                    continue
                times = ns[rows[inverse == each]]
                signal.records += len(times)
                if signal.last_ns >= 0:
                    times = np.append(signal.last_ns, times)
                signal.last_ns = int(times[-1])
                gaps = np.diff(times)
                self._gaps.add(np.full(len(gaps), signal.series + 1), gaps)

    def _add_others(self, traps: Traps, threads: Threads) -> None:
        penalized = traps.flag("SLEPT") | traps.flag("SEMAPHORE")
        for place, loop in enumerate(self._semaphore.tolist()):
            who, enter = self.loops[loop], traps["start_ns"]
            inside = penalized & (enter >= who.start_ns) & (enter <= who.end_ns)
            marked = np.zeros(len(threads), bool)
            marked[: len(self._penalized[place])] = self._penalized[place]
            marked[traps.thread[inside]] = True
            marked &= threads.tid != who.tid
            self._penalized[place] = marked


# Loops by number, in groups with no more than one of each thread.
def _rounds(loops: Sequence[Loop]) -> list[Array]:
    rounds: list[list[int]] = []
    seen: dict[tuple[int, int], int] = {}
    for loop in sorted(range(len(loops)), key=lambda each: -loops[each].longest_ns):
        who = loops[loop].tgid, loops[loop].tid
        turn = seen.get(who, 0)
        seen[who] = turn + 1
        if turn == len(rounds) and turn < PER_THREAD:
            rounds.append([])
        if turn < PER_THREAD:
            rounds[turn].append(loop)
    return [np.array(each) for each in rounds]


# For each record the loop of its thread; -1: it has none.
def _owners(threads: Threads, records: Records, of_thread: Array) -> Array:
    keys = records["tgid"].astype(np.uint64) << np.uint64(32) | records["tid"]
    distinct, inverse = np.unique(keys, return_inverse=True)
    numbers = [threads.look_up(key >> 32, key & 0xFFFF_FFFF) for key in distinct.tolist()]
    loops = np.array([-1 if each is None else of_thread[each] for each in numbers], np.int64)
    return loops[inverse.reshape(-1)]


def _ranges(starts: Array, lengths: Array) -> Array:
    offsets = np.cumsum(lengths) - lengths
    return np.repeat(starts - offsets, lengths) + np.arange(int(lengths.sum()))
