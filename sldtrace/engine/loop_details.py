"""What else happened to the threads of loops while they looped: a second fold, when the loops are known.

Signals, VM exits, and moves to other CPUs, between the first and the last loop of each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from sldtrace.engine import run_delays
from sldtrace.engine.ac_exits import by_ac
from sldtrace.engine.bisection import upto
from sldtrace.engine.chains import SPAN
from sldtrace.engine.columns import Columns
from sldtrace.engine.cores import Cores
from sldtrace.engine.fold import Batch
from sldtrace.engine.keys import Keys, joined
from sldtrace.engine.loops import Loop
from sldtrace.engine.run_delays import RunDelay, RunDelaySums
from sldtrace.engine.signals import SIGNAL, Key, Signalled, Signals, ranges
from sldtrace.engine.tables import Array, Table
from sldtrace.engine.threads import Threads
from sldtrace.engine.traps import Traps
from sldtrace.engine.windows import WindowTracker
from sldtrace.model.early_returns import Bools
from sldtrace.recording.layout import Records

SAMPLE = 1 << 14
"""Traps of one thread that are kept, and as many signals: the first ones."""

SAMPLES = 1 << 16
"""The same of all threads."""

PER_THREAD = 16
"""Loops of one thread of which details are found: the longest. The others have the signals of the first."""

MOST_ADDRESSES = 1 << 17
"""Pairs of a loop and another address that are kept."""


@dataclass
class Details:
    """Of the time from the start of a loop's first trap to the end of its last one.

    signals: of the thread and its process, and what else ended its sleeps; exits, other_exits: records
    of VM exits in loops, and those not by #AC; addresses: other guest addresses in them; elsewhere: stays on
    cores, after a move, while detection was off there and the thread was not in a trap of the loop all the
    time; run_delay: of its thread, in samples of which more than
    half is of this time, None: there are none; traps, sent: the first traps and signal records, see SAMPLE.
    """

    signals: dict[Key, Signalled] = field(default_factory=dict)
    exits: int = 0
    other_exits: int = 0
    addresses: int = 0
    elsewhere: int = 0
    run_delay: RunDelay | None = None
    traps: list[Records] = field(default_factory=list)
    sent: list[Records] = field(default_factory=list)


class LoopDetails:
    """Finds the details of some loops.

    spans: those of each loop, as LoopSummary.spans; core: of a CPU; stops: see WindowTracker.
    """

    kinds: ClassVar[frozenset[str]] = frozenset(
        {"trap", "detection", "signal", "exit", "migrate", "schedstat"}
    )

    def __init__(
        self,
        loops: Sequence[Loop],
        spans: Sequence[Array],
        core: Callable[[int], int],
        stops: Sequence[int],
    ) -> None:
        self.loops = loops
        self.found = [Details() for _ in loops]
        self._cores = Cores(core)
        self._windows = WindowTracker(core, stops)
        self._stays: dict[int, tuple[int, int, int]] = {}  # by loop: since, core, end of the trap then or -1
        self._start = np.array([each.start_ns for each in loops], np.int64)
        self._end = np.array([each.end_ns for each in loops], np.int64)
        self._rip = np.array([each.rip for each in loops], np.uint64)
        self._rounds = _rounds(loops)
        every = np.concatenate([np.zeros(0, SPAN), *(_by_start(each) for each in spans)])
        # Copies: a span has 120 bytes, of which these are 16.
        self._span_start, self._span_end = every["start"].copy(), every["end"].copy()
        self._spans_upto = np.cumsum([len(each) for each in spans], dtype=np.int64)
        self._spans_from = self._spans_upto - [len(each) for each in spans]
        self._signals = Signals()
        self._exits = Table([("all", "i8"), ("others", "i8")])
        self._run_delays = RunDelaySums()
        self._rips, self._addresses = Keys(MOST_ADDRESSES), Keys(MOST_ADDRESSES)
        most = max(min(SAMPLE, SAMPLES // max(len(loops), 1)), 64)
        self._room = {name: np.full(len(loops), most) for name in ("traps", "sent")}

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        traps, threads = batch.traps, batch.threads
        self._windows.update(batch)
        signals, exits, moves = (batch.records(kind) for kind in ("signal", "exit", "migrate"))
        of_exit = threads.find(exits["tgid"], exits["tid"])
        samples = batch.records("schedstat")
        of_sample = threads.find(samples["tgid"], samples["tid"])
        for turn in self._rounds:
            of_thread = turn.of_thread(threads)
            if len(traps):
                self._add_traps(traps, of_thread[traps.who])
            if len(exits):
                self._add_exits(exits, np.where(of_exit >= 0, of_thread[of_exit], -1))
            if len(moves):
                self._add_moves(moves, traps, threads, turn)
            if len(signals):
                self._add_signals(signals, turn)
            if len(samples):
                self._add_samples(samples, np.where(of_sample >= 0, of_thread[of_sample], -1))
        if len(traps):
            now = int(traps["start_ns"].max())
            for loop in [each for each in self._stays if self._end[each] <= now]:
                self._end_stay(loop)

    def quartiles(self, signal: Signalled) -> list[float] | None:
        """The quartiles of the gaps between two signals in a row; None: there is no gap.

        Of the signal records, which have those that ended no sleep as well; else of the traps.
        """
        return self._signals.quartiles(signal.number)

    def finish(self) -> None:
        """Sets what is known only at the end."""
        for loop in list(self._stays):
            self._end_stay(loop)
        whose = (self._addresses.keys >> np.uint64(32)).astype(np.int64)
        addresses = np.bincount(whose, minlength=len(self.loops)).tolist()
        exits = self._exits.upto(len(self.loops)).tolist()
        for each, (count, others), known in zip(self.found, exits, addresses, strict=True):
            each.exits, each.other_exits, each.addresses = count, others, known
        for loop, each in enumerate(self.found):
            each.run_delay = self._run_delays.of_number(loop)
        for loop, key, signal in self._signals.found():
            self.found[loop].signals[key] = signal
        detailed = {(self.loops[loop].tgid, self.loops[loop].tid): self.found[loop] for loop in self._first}
        for loop in set(range(len(self.loops))) - {each for turn in self._rounds for each in turn.loops}:
            other = detailed[self.loops[loop].tgid, self.loops[loop].tid]
            self.found[loop] = Details(other.signals, traps=other.traps, sent=other.sent)

    @property
    def _first(self) -> list[int]:
        return self._rounds[0].loops if self._rounds else []

    # loop: of each thread of these traps; -1: it has none.
    def _add_traps(self, traps: Traps, loop: Array) -> None:
        if (loop < 0).all():
            return
        enter, heads, ends = traps["start_ns"], traps.heads, traps.tails + 1
        # Those from the first loop to the last: of each thread they follow each other.
        has = loop >= 0
        low = np.where(has, upto(enter, heads, ends, self._start[loop], inclusive=False), heads)
        high = np.where(has, upto(enter, low, ends, self._end[loop]), heads)
        self._keep_samples("traps", loop, low, high, traps.records)
        # Runs of traps of one thread that the same signal ended, or the same other cause.
        last = traps.last
        fields, earlier = (
            [each.ended_by, *(each[name] for name in SIGNAL[1:]), each.flag("SIGNAL_GROUP")]
            for each in (traps, last)
        )
        begins = np.zeros(len(traps), bool)
        for column in fields:
            begins[1:] |= column[1:] != column[:-1]
        begins[heads] = True
        begins[np.concatenate([low, high])[np.concatenate([low < high, high < ends])]] = True
        runs = np.flatnonzero(begins)
        lengths = np.diff(runs, append=len(traps))
        whose = np.searchsorted(heads, runs, "right") - 1
        mine = (runs >= low[whose]) & (runs < high[whose]) & (traps.ended_by[runs] != 0)
        runs, lengths, whose = runs[mine], lengths[mine], whose[mine]
        if not len(runs):
            return
        # Does the first one follow the thread's last trap before this slice, with the same signal?
        goes_on = has & (last["start_ns"] >= self._start[loop]) & (last["start_ns"] <= self._end[loop])
        for column, before in zip(fields, earlier, strict=True):
            goes_on &= column[heads] == before
        follows = (runs == heads[whose]) & goes_on[whose]
        number = self._signals.numbers(loop[whose], [column[runs] for column in fields])
        self._signals.add_ended(number, lengths, enter[runs])
        gaps = traps["signal_ns"] - traps.previous("signal_ns")
        between = np.where(traps.ended_by[runs] > 0, lengths - ~follows, 0)
        self._signals.add_gaps(number, between, gaps[ranges(runs + ~follows, between)], sent=False)

    # Keeps the first of these records, from low to high, for each of these loops that has room.
    def _keep_samples(
        self, name: str, loop: Array, low: Array, high: Array, records: Callable[[Array], Records]
    ) -> None:
        room = self._room[name]
        take = np.where(loop >= 0, np.minimum(high - low, room[loop]), 0)
        for each in np.flatnonzero(take).tolist():
            kept: list[Records] = getattr(self.found[int(loop[each])], name)
            kept.append(records(np.arange(low[each], low[each] + take[each])))
            room[loop[each]] -= take[each]

    def _add_exits(self, exits: Columns, loop: Array) -> None:
        mine = np.flatnonzero(loop >= 0)
        mine = mine[self._in_loop(loop[mine], exits["ns"][mine].astype(np.int64))]
        if not len(mine):
            return
        exits, loop = exits[mine], loop[mine]
        sums = self._exits.upto(len(self.loops))
        sums["all"] += np.bincount(loop, minlength=len(sums))
        sums["others"] += np.bincount(loop[~by_ac(exits)], minlength=len(sums))
        away = exits["rip"] != self._rip[loop]
        rip = self._rips.numbers(exits["rip"][away])
        self._addresses.numbers(joined(loop[away][rip >= 0], rip[rip >= 0]))

    # loop: of each sample; -1: it has none.
    def _add_samples(self, samples: Columns, loop: Array) -> None:
        inside = run_delays.within(samples, self._start[loop], self._end[loop])
        self._run_delays.add(np.where(inside, loop, -1), samples)

    # For each moment in a loop's thread: is it in one of its spans?
    def _in_loop(self, loop: Array, ns: Array) -> Bools:
        begin = self._spans_from[loop]
        span = upto(self._span_start, begin, self._spans_upto[loop], ns) - 1
        found: Bools = (span >= begin) & (ns <= self._span_end[np.maximum(span, 0)])
        return found

    def _add_moves(self, moves: Columns, traps: Traps, threads: Threads, turn: "_Round") -> None:
        row, loop = turn.concerned(moves["tid"])
        ns = moves["ns"][row].astype(np.int64)
        inside = (ns >= self._start[loop]) & (ns <= self._end[loop])
        row, loop, ns = row[inside], loop[inside], ns[inside]
        if not len(loop):
            return
        heads = np.flatnonzero(loop[1:] != loop[:-1]) + 1
        for at in np.split(np.arange(len(loop)), heads):
            each = int(loop[at[0]])
            ends = self._trap_ends(traps, threads, each, ns[at])
            self._add_stays(each, ns[at], moves["to_cpu"][row[at]], ends)

    # Each move ends the stay before it.
    def _add_stays(self, loop: int, ns: Array, cpus: Array, trap_ends: Array) -> None:
        cores = self._cores.of(cpus)
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
        if number is None:
            return np.full(len(ns), -1)
        at = np.arange(*np.searchsorted(traps.who, [number, number + 1]))
        if not len(at):
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

    def _add_signals(self, signals: Columns, turn: "_Round") -> None:
        row, loop = turn.signalled(signals)
        ns = signals["ns"][row].astype(np.int64)
        inside = (ns >= self._start[loop]) & (ns <= self._end[loop])
        row, loop, ns = row[inside], loop[inside], ns[inside]
        if not len(row):
            return
        heads = np.flatnonzero(np.append(True, loop[1:] != loop[:-1]))
        ends = np.append(heads[1:], len(loop))
        self._keep_samples("sent", loop[heads], heads, ends, lambda at: signals[row[at]].records)
        fields = [signals[name][row] for name in SIGNAL] + [signals["tid"][row] == 0]
        number = self._signals.numbers(loop, fields)
        self._signals.add_sent(number, ns)


class _Round:
    """Loops by number, no more than one of each thread."""

    def __init__(self, every: Sequence[Loop], loops: list[int]) -> None:
        self.loops = loops
        self._known = {every[loop].tgid << 32 | every[loop].tid: loop for loop in loops}
        self._of_thread: Array = np.zeros(0, np.int64)
        self._tids = _Lookup([every[loop].tid for loop in loops], loops)
        self._tgids = _Lookup([every[loop].tgid for loop in loops], loops)

    def of_thread(self, threads: Threads) -> Array:
        """The loop of each thread, by number; -1: it has none."""
        known = len(self._of_thread)
        if len(threads) > known:
            keys = joined(threads.tgid[known:], threads.tid[known:]).tolist()
            new = np.array([self._known.get(key, -1) for key in keys], np.int64)
            self._of_thread = np.concatenate([self._of_thread, new])
        return self._of_thread

    def concerned(self, tids: Array) -> tuple[Array, Array]:
        """Pairs of a record's position and a loop whose thread has that TID, by loop and then position."""
        return _by_loop(*self._tids.pairs(tids))

    def signalled(self, signals: Columns) -> tuple[Array, Array]:
        """The same of signals: also to the loop's process."""
        group = np.flatnonzero(signals["tid"] == 0)
        row, loop = self._tids.pairs(signals["tid"])
        at, also = self._tgids.pairs(signals["tgid"][group])
        return _by_loop(np.concatenate([row, group[at]]), np.concatenate([loop, also]))


class _Lookup:
    """Finds values by keys that may be there several times."""

    def __init__(self, keys: list[int], values: list[int]) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._values = np.array(keys, np.int64)[order], np.array(values, np.int64)[order]

    def pairs(self, keys: Array) -> tuple[Array, Array]:
        """For each value with one of these keys: the key's position, and the value."""
        low = np.searchsorted(self._keys, keys.astype(np.int64), "left")
        count = np.searchsorted(self._keys, keys.astype(np.int64), "right") - low
        return np.repeat(np.arange(len(keys)), count), self._values[ranges(low, count)]


def _by_loop(row: Array, loop: Array) -> tuple[Array, Array]:
    order = np.lexsort((row, loop))
    return row[order], loop[order]


def _rounds(loops: Sequence[Loop]) -> list[_Round]:
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
    return [_Round(loops, each) for each in rounds]


def _by_start(spans: Array) -> Array:
    found: Array = spans[np.argsort(spans["start"], kind="stable")]
    return found
