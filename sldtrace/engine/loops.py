"""Loops of early returns: the rule of sldtrace.model.early_returns as a fold.

A place is an address of one thread. At any time a place has at most one chain that may go on; chains that
have ended count if they are loops, and are gone if not. What the thread did besides its loops, from the first
one to the last, is the difference of two states of its counters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from sldtrace.engine import quantiles
from sldtrace.engine.chains import (
    CHAIN,
    COUNTERS,
    NEVER,
    SPAN,
    TOTAL,
    Counted,
    Pieces,
    add_up,
    join,
    join_spans,
    of_traps,
    spans_of,
)
from sldtrace.engine.columns import Columns
from sldtrace.engine.cores import Cores
from sldtrace.engine.fold import Batch
from sldtrace.engine.places import Places
from sldtrace.engine.quantiles import Quantiles
from sldtrace.engine.sleeps import SleepSummary
from sldtrace.engine.tables import Array, Table, distinct
from sldtrace.engine.threads import Threads
from sldtrace.engine.traps import Traps
from sldtrace.host.msr import DETECT
from sldtrace.model import early_returns as rule
from sldtrace.model.early_returns import Bools, Times
from sldtrace.model.penalty import Penalty

MOST_LOOPS = 1 << 15
"""Places with loops that are kept; of more, those whose loops ended first are gone."""

OPEN_PER_LOOP = 4
"""The most open chains that are no loops yet, in multiples of MOST_LOOPS."""

MOST_SPANS = 1 << 17
"""Loops of which start and end are kept; of more, those with a pause of one phase at most are joined."""

PHASE_PENALTIES = 8
"""A longer pause between two loops makes them two phases; in longest sleeps."""

_PLACE = np.dtype(
    [("tgid", "u4"), ("tid", "u4"), ("thread", "i4"), ("rip", "u8"), ("open", CHAIN), ("total", TOTAL)]
)


@dataclass(frozen=True)
class Loop:
    """The loops of one thread at one address, as far as the records show them.

    place: its number in the summary; vcpu: -1 if not known; start_ns, end_ns: of the first and the last loop
    (CLOCK_MONOTONIC); loops: how many; in_loops_ns, longest_ns: their lengths; in_loops: traps in loops;
    at_semaphore: those of them that returned early from the semaphore. traps, early_returns,
    semaphore_early_returns, detection_off: of the thread from start to end; traps_since, detection_off_since:
    after the end. Of the traps in loops: exits and
    guest_ns between them, as far as watched_traps covers them; unwatched_traps, missed_returns: see
    progress.ProgressNumbers; watched_ns: time in loops in which writes of MSR_TEST_CTRL were watched; first,
    last: starts of the first and the last ones.
    """

    tgid: int
    tid: int
    rip: int
    vcpu: int
    guest: bool
    livelock: bool = False
    start_ns: int = 0
    end_ns: int = 0
    loops: int = 0
    in_loops_ns: int = 0
    longest_ns: int = 0
    in_loops: int = 0
    at_semaphore: int = 0
    traps: int = 0
    early_returns: int = 0
    semaphore_early_returns: int = 0
    detection_off: int = 0
    traps_since: int = 0
    detection_off_since: int = 0
    exits: int = 0
    guest_ns: int = 0
    watched_traps: int = 0
    unwatched_traps: int = 0
    missed_returns: int = 0
    watched_ns: int = 0
    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()
    place: int = 0

    @property
    def kind(self) -> str:
        """The kind of the finding."""
        return rule.kind(self.guest, self.in_loops, self.at_semaphore)


class _Results(NamedTuple):
    """going_on: for each place, has it a loop that may go on? spans: of all loops, by place and time."""

    going_on: Bools
    places: Array  # of the spans
    spans: Array


class LoopSummary:
    """Finds the loops of all threads.

    penalty: of the kernel, or, while it runs, of what `sleeps` (which gets each batch first) says so far;
    core: of a CPU; most: places with loops. changed: those whose loops the last batch made or
    continued; left_out: how many with loops were forgotten because there were more.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap", "detection"})

    def __init__(
        self,
        penalty: Penalty,
        core: Callable[[int], int],
        sleeps: SleepSummary | None = None,
        most: int = MOST_LOOPS,
    ) -> None:
        self.penalty = penalty
        self._sleeps = sleeps
        self.changed: Array = np.zeros(0, np.int64)
        self.left_out = 0
        self._most = most
        self._cores = Cores(core)
        self._windows = rule.Windows()
        self._counters = Table(COUNTERS)
        self._places = Table(_PLACE)
        self._numbers = Places()
        self._open: Array = np.zeros(0, np.int64)  # places with a chain that may go on
        self._left: list[Array] = []
        self._slept, self._pending = Quantiles(), Quantiles()  # of loops; of chains that may go on
        self._spans: list[Array] = []
        self._spans_size = 0
        self._known: _Results | None = None  # of the batches so far, if it was asked for

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        if self._sleeps is not None:
            self.penalty = self._sleeps.corrected(self.penalty)
        broken = self.broken(batch)
        self._known = None
        self.changed = np.zeros(0, np.int64)
        if len(batch.traps):
            self._add(batch, broken)
            self._forget_places()

    def broken(self, batch: Batch) -> Bools:
        """For each trap of the next batch: does a new chain start with it?"""
        traps = batch.traps
        since = traps.previous("end_ns")
        opened = self._opened(traps, since, batch.records("detection"))
        watched = traps.flag("MSR_WATCHED")
        known = watched & traps.before(watched, traps.last.flag("MSR_WATCHED"))
        return rule.breaks(
            self.penalty, traps.has_previous, traps.early, known, since, traps["start_ns"], opened
        )

    @staticmethod
    def stretches(broken: Bools, traps: Traps) -> Array:
        """Numbers what lies between two breaks, or two threads."""
        begins = broken.copy()
        begins[traps.heads] = True
        return np.cumsum(begins, dtype=np.int32)

    def keep(self, threads: Array) -> None:
        """See fold.LiveSummary. The chains of the others have ended."""
        places = self._places.upto(self._numbers.size)
        numbers: Array = np.full(
            max(int(places["thread"].max(initial=0)), int(threads.max())) + 1, -1, np.int32
        )
        numbers[threads] = np.arange(len(threads))
        places["thread"] = numbers[places["thread"]]
        self._known = None
        self._counters.upto(int(threads.max()) + 1)
        self._counters.keep(threads)
        self._close(self._open[places["thread"][self._open] < 0])
        self._release()

    def loops(self, places: Array | None = None) -> list[Loop]:
        """All loops so far, or those of some places, in the order in which the last loop of each ended."""
        number = np.arange(self._numbers.size) if places is None else places
        rows = self._places.upto(self._numbers.size)[number]
        opened = np.flatnonzero(self._is_loop(rows["open"]))
        add_up(rows["total"], rows["open"][opened], opened)
        found = np.flatnonzero(rows["total"]["loops"] > 0)
        order = np.argsort(rows["total"]["end"][found], kind="stable")
        return [self._loop(int(number[at]), rows[at]) for at in found[order]]

    def slept(self, loop: Loop, shares: list[float]) -> list[float]:
        """Quantiles of the time slept in the traps in these loops, in ns; see engine.quantiles."""
        parts = [(self._slept, loop.place)]
        if self._results.going_on[loop.place]:
            parts.append((self._pending, loop.place))
        return quantiles.of_parts(parts, shares)

    def spans(self, loop: Loop) -> Array:
        """Start and end of each of these loops, with the thread's counters before and after: see SPAN."""
        results = self._results
        found: Array = results.spans[slice(*np.searchsorted(results.places, [loop.place, loop.place + 1]))]
        return found

    @property
    def _results(self) -> "_Results":
        if self._known is None:
            chains = self._places.upto(self._numbers.size)["open"]
            going_on = self._is_loop(chains)
            places = np.flatnonzero(going_on)
            every = np.concatenate([np.zeros(0, SPAN), *self._spans, spans_of(chains[places], places)])
            every = every[np.argsort(every["place"], kind="stable")]
            self._known = _Results(going_on, every["place"].copy(), every)
        return self._known

    def phases(self, loop: Loop) -> Array:
        """The spans of these loops, those with no more than a short pause between them as one."""
        return join_spans(self.spans(loop), self._pause)

    def phases_of_thread(self, loops: Sequence[Loop]) -> Array:
        """The same of all loops of one thread, at any address."""
        spans = np.concatenate([np.zeros(0, SPAN), *(self.spans(loop) for loop in loops)])
        spans["place"] = 0
        return join_spans(spans, self._pause)

    @property
    def _pause(self) -> int:
        return PHASE_PENALTIES * self.penalty.longest_sleep_ns

    def _loop(self, place: int, row: Array) -> Loop:
        total = row["total"]
        same = {name: int(total["after"][name] - total["before"][name]) for name, _ in COUNTERS}
        thread = int(row["thread"])
        newest = self._counters.upto(thread + 1)[thread] if thread >= 0 else total["after"]
        return Loop(
            place=place,
            tgid=int(row["tgid"]),
            tid=int(row["tid"]),
            rip=int(row["rip"]),
            vcpu=int(total["vcpu"]),
            guest=bool(total["guest"]),
            livelock=rule.is_livelock(
                int(total["loops"]), int(total["longest"]), same["early"], self.penalty
            ),
            start_ns=int(total["start"]),
            end_ns=int(total["end"]),
            loops=int(total["loops"]),
            in_loops_ns=int(total["in_loops"]),
            longest_ns=int(total["longest"]),
            in_loops=int(total["count"]),
            at_semaphore=int(total["at_semaphore"]),
            traps=same["traps"],
            early_returns=same["early"],
            semaphore_early_returns=same["semaphore"],
            detection_off=same["off"],
            traps_since=int(newest["traps"] - total["after"]["traps"]),
            detection_off_since=int(newest["off"] - total["after"]["off"]),
            exits=int(total["exits"]),
            guest_ns=int(total["guest_ns"]),
            watched_traps=int(total["watched"]),
            unwatched_traps=int(total["unwatched"]),
            missed_returns=int(total["missed"]),
            watched_ns=int(total["watched_ns"]),
            first=tuple(each for each in total["first"].tolist() if each != NEVER),
            last=tuple(each for each in total["last"].tolist() if each >= 0),
        )

    # For each trap: was detection off on its core since the thread's last one?
    def _opened(self, traps: Traps, since: Times, writes: Columns) -> Bools:
        if not len(writes) and not self._windows.of_core:
            return np.zeros(len(traps), bool)
        off = (writes["value"] & np.uint64(DETECT)) == 0
        return self._windows.opened(
            self._cores.of(traps["start_cpu"]),
            since,
            traps["start_ns"],
            self._cores.of(writes["cpu"]),
            writes["ns"].astype(np.int64),
            ~off,
        )

    def _add(self, batch: Batch, broken: Bools) -> None:
        traps = batch.traps
        stretch = self.stretches(broken, traps)
        goes_on = ~broken[traps.heads]  # by thread: may a chain from before go on?
        head, tail = stretch[traps.heads], stretch[traps.tails]
        # Where each thread of this batch is in `who`; -1: it is not.
        at: Array = np.full(len(batch.threads), -1, np.int64)
        at[traps.who] = np.arange(len(traps.who))

        pieces = Pieces(traps, stretch)
        whose = np.searchsorted(traps.heads, pieces.first, "right") - 1
        in_head = goes_on[whose] & (pieces.stretch == head[whose])
        in_tail = pieces.stretch == tail[whose]
        lasted = pieces.end - traps["start_ns"][pieces.first]
        chosen = in_head | in_tail | rule.is_loop(pieces.count, lasted, self.penalty)
        rows, offsets = pieces.rows(chosen)
        in_head, in_tail, whose = in_head[chosen], in_tail[chosen], whose[chosen]
        found = of_traps(traps, rows, offsets, self._count_up(traps, whose))
        place = self._number(batch.threads, traps.who[whose], pieces.rip[chosen])
        places = self._places.upto(self._numbers.size)
        series = np.repeat(place, found["count"])
        slept = traps["sleep_ns"][rows]

        def of(mine: Bools) -> tuple[Array, Array]:
            if mine.all():
                return series, slept
            values = np.repeat(mine, found["count"])
            return series[values], slept[values]

        thread = places["thread"][self._open]
        ended = at[thread]
        self._close(self._open[(ended >= 0) & ~goes_on[ended]])
        new = in_head & (places["open"]["count"][place] == 0)
        old = in_head & ~new
        joined = places["open"][place[old]]
        join(joined, found[old])
        places["open"][place[old]] = joined
        places["open"][place[new]] = found[new]
        self._pending.add(*of(in_head))
        self._open = np.concatenate([self._open, place[new]])
        ended = at[places["thread"][self._open]]
        self._close(self._open[(ended >= 0) & (head[ended] != tail[ended])])
        middle = ~in_head & ~in_tail
        self._account(found[middle], place[middle])
        self._slept.add(*of(middle))
        last = in_tail & ~in_head
        places["open"][place[last]] = found[last]
        self._pending.add(*of(last))
        self._open = np.concatenate([self._open, place[last]])
        going = place[in_head | last]
        self._note(going[self._is_loop(places["open"][going])])

    # Counts the traps. whose: the thread of each chain, by its position in traps.who.
    def _count_up(self, traps: Traps, whose: Array) -> dict[str, Counted]:
        state = self._counters.upto(int(traps.who[-1]) + 1)
        mine = state[traps.who]
        found = {}
        for name, values in (
            ("traps", np.ones(len(traps), np.int8)),
            ("early", traps.early),
            ("semaphore", traps.at_semaphore),
            ("off", traps.detection_off),
            ("slept_ns", np.minimum(traps["sleep_ns"], self.penalty.longest_sleep_ns)),
            ("waited_ns", traps["semaphore_ns"]),
        ):
            upto = np.cumsum(values, dtype=np.int64)
            before = mine[name] - (upto[traps.heads] - values[traps.heads])
            mine[name] = upto[traps.tails] + before
            found[name] = Counted(values, upto, before[whose])
        state[traps.who] = mine
        return found

    # The place of each of these.
    def _number(self, threads: Threads, thread: Array, rip: Array) -> Array:
        numbers, new = self._numbers.numbers(threads, thread, rip)
        places = self._places.upto(self._numbers.size)
        places[new] = np.zeros(len(new), _PLACE)
        places["tgid"][numbers], places["tid"][numbers] = threads.tgid[thread], threads.tid[thread]
        places["thread"][numbers], places["rip"][numbers] = thread, rip
        return numbers

    # Ends the chains of these places.
    def _close(self, ended: Array) -> None:
        if not len(ended):
            return
        places = self._places.upto(self._numbers.size)
        chains = places["open"][ended]
        loop = self._is_loop(chains)
        self._account(chains[loop], ended[loop])
        self._pending.move(self._slept, ended[loop])
        self._pending.drop(ended[~loop])
        self._leave(ended)

    # These places have no chain any more that may go on.
    def _leave(self, places: Array) -> None:
        self._places.upto(self._numbers.size)["open"]["count"][places] = 0
        left = np.zeros(self._numbers.size, bool)
        left[places] = True
        self._open = self._open[~left[self._open]]
        self._left.append(places)

    # Forgets the places that were left, and have neither a loop nor a chain.
    def _release(self) -> None:
        places = self._places.upto(self._numbers.size)
        gone = distinct(np.concatenate([np.zeros(0, np.int64), *self._left]))
        gone = gone[(places["total"]["loops"][gone] == 0) & (places["open"]["count"][gone] == 0)]
        rows = places[gone]
        self._numbers.release(rows["tgid"], rows["tid"], rows["rip"])
        self._left.clear()

    def _account(self, chains: Array, place: Array) -> None:
        if not len(chains):
            return
        add_up(self._places.upto(self._numbers.size)["total"], chains, place)
        self._spans.append(spans_of(chains, place))
        self._spans_size += len(chains)
        if self._spans_size > MOST_SPANS:
            self._spans = [join_spans(np.concatenate(self._spans), self._pause)]
            self._spans_size = len(self._spans[0])
        self._note(place)

    def _note(self, place: Array) -> None:
        self.changed = distinct(np.concatenate([self.changed, place]))

    def _is_loop(self, chains: Array) -> Bools:
        found: Bools = rule.is_loop(chains["count"], chains["end"] - chains["start"], self.penalty)
        return found

    # Forgets the loops that ended first, and the chains that may go on likewise, if there are too many.
    def _forget_places(self) -> None:
        if len(self._numbers) > self._most:
            places = self._places.upto(self._numbers.size)
            ends = np.where(places["open"]["count"] > 0, places["open"]["end"], 0)
            loop = (ends > 0) & self._is_loop(places["open"])
            self._forget(np.flatnonzero((ends > 0) & ~loop), ends, OPEN_PER_LOOP * self._most)
            ends = np.maximum(ends, np.where(places["total"]["loops"] > 0, places["total"]["end"], 0))
            loops = np.flatnonzero(loop | (places["total"]["loops"] > 0))
            self.left_out += max(0, len(loops) - self._most)
            self._forget(loops, ends, self._most)
        self._release()

    def _forget(self, places: Array, ends: Array, most: int) -> None:
        if len(places) <= most:
            return
        gone = places[np.argsort(ends[places], kind="stable")[: len(places) - most]]
        self._places.upto(self._numbers.size)["total"]["loops"][gone] = 0
        self._leave(gone)
        self._slept.drop(gone)
        self._pending.drop(gone)
        self._spans = [each[~np.isin(each["place"], gone)] for each in self._spans]
        self.changed = self.changed[~np.isin(self.changed, gone)]
