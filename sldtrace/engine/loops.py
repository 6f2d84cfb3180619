"""Loops of early returns: the rule of sldtrace.model.early_returns as a fold.

A place is an address of one thread. At any time a place has at most one chain that may go on; chains that
have ended count if they are loops, and are gone if not. What the thread did besides its loops, from the first
one to the last, is the difference of two states of its counters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from sldtrace.engine import quantiles
from sldtrace.engine.cores import Cores
from sldtrace.engine.fold import Batch
from sldtrace.engine.places import Places
from sldtrace.engine.quantiles import Quantiles
from sldtrace.engine.sleeps import SleepSummary
from sldtrace.engine.tables import Array, Table
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

FIRST, LAST = 4, 3
"""How many of the first and of the last traps in loops are remembered, by their start."""

PHASE_PENALTIES = 8
"""A longer pause between two loops makes them two phases; in longest sleeps."""

_NEVER = np.iinfo(np.int64).max
_COUNTERS = [("traps", "i8"), ("early", "i8"), ("semaphore", "i8"), ("off", "i8")]
_SEEN = [
    ("count", "i8"),  # traps
    ("at_semaphore", "i8"),  # of them
    ("exits", "i8"),  # where they were watched, like guest_ns
    ("guest_ns", "i8"),
    ("watched", "i8"),  # traps for which exits were watched
    ("unwatched", "i8"),  # traps for which writes of MSR_TEST_CTRL were not
    ("missed", "i8"),  # traps in which a return was not seen
]
_SUMS = [name for name, _ in _SEEN]
_COMMON = [
    *_SEEN,
    ("start", "i8"),
    ("end", "i8"),
    ("before", _COUNTERS),  # the thread's counters before the first trap
    ("after", _COUNTERS),  # and after the last
    ("first", "i8", (FIRST,)),  # starts of the first traps; _NEVER: there is none
    ("last", "i8", (LAST,)),  # and of the last; -1: there is none
    ("vcpu", "i4"),
    ("guest", "?"),
]
# of_first: what the sums have of the first trap; it is of the time before the chain.
_CHAIN = np.dtype(
    [
        *_COMMON,
        ("of_first", [("exits", "i8"), ("guest_ns", "i8"), ("watched", "i8")]),
        ("msr_start", "i8"),  # of the traps for which writes of MSR_TEST_CTRL were watched
        ("msr_end", "i8"),
    ]
)
_TOTAL = np.dtype([*_COMMON, ("loops", "i8"), ("in_loops", "i8"), ("longest", "i8"), ("watched_ns", "i8")])
_PLACE = np.dtype(
    [("tgid", "u4"), ("tid", "u4"), ("thread", "i4"), ("rip", "u8"), ("open", _CHAIN), ("total", _TOTAL)]
)
SPAN = np.dtype(
    [("place", "i8"), ("start", "i8"), ("end", "i8"), ("before", _COUNTERS), ("after", _COUNTERS)]
)
"""A loop; or, of very many, several with short pauses between them."""


@dataclass(frozen=True)
class Loop:
    """The loops of one thread at one address, as far as the records show them.

    place: its number in the summary; vcpu: -1 if not known; start_ns, end_ns: of the first and the last loop
    (CLOCK_MONOTONIC); loops: how many; in_loops_ns, longest_ns: their lengths; in_loops: traps in loops;
    at_semaphore: those of them that returned early from the semaphore. traps, early_returns,
    semaphore_early_returns, detection_off: of the thread from start to end. Of the traps in loops: exits and
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


class LoopSummary:
    """Finds the loops of all threads.

    penalty: of the kernel, or, while it runs, of what `sleeps` (which gets each batch first) says so far;
    core: of a CPU; most: places with loops. changed: those whose loops the last batch made or continued.
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
        self._most = most
        self._cores = Cores(core)
        self._windows = rule.Windows()
        self._counters = Table(_COUNTERS)
        self._places = Table(_PLACE)
        self._numbers = Places()
        self._open: Array = np.zeros(0, np.int64)  # places with a chain that may go on
        self._left: list[Array] = []
        self._slept, self._pending = Quantiles(), Quantiles()  # of loops; of chains that may go on
        self._spans: list[Array] = []
        self._spans_size = 0

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        if self._sleeps is not None:
            self.penalty = self._sleeps.corrected(self.penalty)
        broken = self.broken(batch)
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
        self._counters.upto(int(threads.max()) + 1)
        self._counters.keep(threads)
        self._close(self._open[places["thread"][self._open] < 0])
        self._release()

    def loops(self, places: Array | None = None) -> list[Loop]:
        """All loops so far, or those of some places, in the order in which the last loop of each ended."""
        number = np.arange(self._numbers.size) if places is None else places
        rows = self._places.upto(self._numbers.size)[number]
        opened = np.flatnonzero(self._is_loop(rows["open"]))
        self._count(rows["total"], rows["open"][opened], opened)
        found = np.flatnonzero(rows["total"]["loops"] > 0)
        order = np.argsort(rows["total"]["end"][found], kind="stable")
        return [self._loop(int(number[at]), rows[at]) for at in found[order]]

    def slept(self, loop: Loop, shares: list[float]) -> list[float]:
        """Quantiles of the time slept in the traps in these loops, in ns; see engine.quantiles."""
        parts = [(self._slept, loop.place)]
        if self._is_loop(self._places.upto(self._numbers.size)["open"][[loop.place]])[0]:
            parts.append((self._pending, loop.place))
        return quantiles.of_parts(parts, shares)

    def spans(self, loop: Loop) -> Array:
        """Start and end of each of these loops, with the thread's counters before and after: see SPAN."""
        found = np.concatenate(
            [np.zeros(0, SPAN), *(each[each["place"] == loop.place] for each in self._spans)]
        )
        chain = self._places.upto(self._numbers.size)["open"][[loop.place]]
        if self._is_loop(chain)[0]:
            found = np.concatenate([found, _spans(chain, np.array([loop.place]))])
        return found

    def phases(self, loop: Loop) -> Array:
        """The spans of these loops, those with no more than a short pause between them as one."""
        return _joined(self.spans(loop), self._pause)

    @property
    def _pause(self) -> int:
        return PHASE_PENALTIES * self.penalty.longest_sleep_ns

    def _loop(self, place: int, row: Array) -> Loop:
        total = row["total"]
        same = {name: int(total["after"][name] - total["before"][name]) for name, _ in _COUNTERS}
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
            exits=int(total["exits"]),
            guest_ns=int(total["guest_ns"]),
            watched_traps=int(total["watched"]),
            unwatched_traps=int(total["unwatched"]),
            missed_returns=int(total["missed"]),
            watched_ns=int(total["watched_ns"]),
            first=tuple(each for each in total["first"].tolist() if each != _NEVER),
            last=tuple(each for each in total["last"].tolist() if each >= 0),
        )

    # For each trap: was detection off on its core since the thread's last one?
    def _opened(self, traps: Traps, since: Times, writes: Array) -> Bools:
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
        found = self._chains(traps, rows, offsets)
        in_head, in_tail, whose = in_head[chosen], in_tail[chosen], whose[chosen]
        place = self._number(batch.threads, traps.who[whose], pieces.rip[chosen])
        places = self._places.upto(self._numbers.size)
        series = np.repeat(place, found["count"])
        slept = traps["sleep_ns"][rows]

        def of(mine: Bools) -> tuple[Array, Array]:
            values = np.repeat(mine, found["count"])
            return series[values], slept[values]

        thread = places["thread"][self._open]
        ended = at[thread]
        self._close(self._open[(ended >= 0) & ~goes_on[ended]])
        new = in_head & (places["open"]["count"][place] == 0)
        old = in_head & ~new
        joined = places["open"][place[old]]
        _join(joined, found[old])
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

    # The chains of which these are the traps, each from its offset on.
    def _chains(self, traps: Traps, rows: Array, offsets: Array) -> Array:
        found = np.zeros(len(offsets), _CHAIN)
        counters = self._count_up(traps)
        if not len(offsets):
            return found
        ends = np.append(offsets[1:], len(rows))
        first, last = rows[offsets], rows[ends - 1]
        enter, leave = traps["start_ns"], traps["end_ns"]
        found["count"] = ends - offsets
        watched, msr = traps.flag("EXITS_WATCHED")[rows], traps.flag("MSR_WATCHED")[rows]
        for name, values in (
            ("at_semaphore", traps.at_semaphore[rows]),
            ("watched", watched),
            ("exits", np.where(watched, traps["exits"][rows], 0)),
            ("guest_ns", np.where(watched, traps["guest_ns"][rows], 0)),
            ("unwatched", ~msr),
            ("missed", traps.flag("RETURN_MISSED")[rows]),
        ):
            found[name] = np.add.reduceat(values, offsets, dtype=np.int64)
            if name in ("watched", "exits", "guest_ns"):
                found["of_first"][name] = values[offsets]
        found["start"], found["end"] = enter[first], np.maximum.reduceat(leave[rows], offsets)
        found["msr_start"] = np.minimum.reduceat(np.where(msr, enter[rows], _NEVER), offsets)
        found["msr_end"] = np.maximum.reduceat(np.where(msr, leave[rows], -1), offsets)
        found["vcpu"] = np.maximum.reduceat(traps["vcpu"][rows], offsets)
        found["guest"] = traps.flag("GUEST")[first]
        for name, (after, values) in counters.items():
            found["before"][name] = after[first] - values[first]
            found["after"][name] = after[last]
        for number in range(FIRST):
            each = offsets + number
            there = each < ends
            found["first"][:, number] = np.where(there, enter[rows[np.where(there, each, 0)]], _NEVER)
        for number in range(LAST):
            each = ends - LAST + number
            there = each >= offsets
            found["last"][:, number] = np.where(there, enter[rows[np.where(there, each, 0)]], -1)
        return found

    # For each counter of the threads: its value after each trap, and what each trap adds to it.
    def _count_up(self, traps: Traps) -> dict[str, tuple[Array, Array]]:
        state = self._counters.upto(int(traps.who[-1]) + 1)
        mine = state[traps.who]
        found = {}
        for name, values in (
            ("traps", np.ones(len(traps), np.int8)),
            ("early", traps.early),
            ("semaphore", traps.at_semaphore),
            ("off", traps.detection_off),
        ):
            after = np.cumsum(values, dtype=np.int64)
            base = mine[name] - (after[traps.heads] - values[traps.heads])
            after += np.repeat(base, traps.lengths)
            mine[name] = after[traps.tails]
            found[name] = after, values
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
        gone = np.unique(np.concatenate([np.zeros(0, np.int64), *self._left]))
        gone = gone[(places["total"]["loops"][gone] == 0) & (places["open"]["count"][gone] == 0)]
        rows = places[gone]
        self._numbers.release(rows["tgid"], rows["tid"], rows["rip"])
        self._left.clear()

    def _account(self, chains: Array, place: Array) -> None:
        if not len(chains):
            return
        self._count(self._places.upto(self._numbers.size)["total"], chains, place)
        self._spans.append(_spans(chains, place))
        self._spans_size += len(chains)
        if self._spans_size > MOST_SPANS:
            self._spans = [_joined(np.concatenate(self._spans), self._pause)]
            self._spans_size = len(self._spans[0])
        self._note(place)

    def _note(self, place: Array) -> None:
        self.changed = np.unique(np.concatenate([self.changed, place]))

    # Adds loops, of one place in order of time, to the totals of all places.
    def _count(self, totals: Array, chains: Array, place: Array) -> None:
        if not len(chains):
            return
        order = np.argsort(place, kind="stable")
        chains, place = chains[order], place[order]
        begins = np.flatnonzero(np.append(True, place[1:] != place[:-1]))
        ends = np.append(begins[1:], len(place)) - 1
        mine = totals[place[begins]]
        new = mine["loops"] == 0
        for name in _SUMS:
            values = chains[name] - (
                chains["of_first"][name] if name in ("watched", "exits", "guest_ns") else 0
            )
            mine[name] += np.add.reduceat(values, begins)
        lasted = chains["end"] - chains["start"]
        mine["loops"] += ends - begins + 1
        mine["in_loops"] += np.add.reduceat(lasted, begins)
        mine["longest"] = np.maximum(mine["longest"], np.maximum.reduceat(lasted, begins))
        watched = np.where(chains["msr_end"] >= 0, chains["msr_end"] - chains["msr_start"], 0)
        mine["watched_ns"] += np.add.reduceat(watched, begins)
        for name in ("start", "before", "guest"):
            mine[name][new] = chains[name][begins[new]]
        mine["vcpu"] = np.where(new, -1, mine["vcpu"])
        mine["vcpu"] = np.maximum(mine["vcpu"], np.maximum.reduceat(chains["vcpu"], begins))
        mine["end"] = np.maximum(np.where(new, 0, mine["end"]), np.maximum.reduceat(chains["end"], begins))
        mine["after"] = chains["after"][ends]
        mine["first"][new] = _NEVER
        # A loop has three traps or more: two hold the first four, one the last three.
        second = chains["first"][np.minimum(begins + 1, ends)].copy()
        second[begins == ends] = _NEVER
        every = np.concatenate([mine["first"], chains["first"][begins], second], axis=1)
        mine["first"] = np.sort(every, axis=1)[:, :FIRST]
        mine["last"] = chains["last"][ends]
        totals[place[begins]] = mine

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
            self._forget(np.flatnonzero(loop | (places["total"]["loops"] > 0)), ends, self._most)
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


class Pieces:
    """The parts of chains that lie in one slice: early traps of one stretch at one address.

    stretch, rip; first: the position of the first trap; count: of traps; end: of the last one.
    """

    def __init__(self, traps: Traps, stretch: Array) -> None:
        self._early = np.flatnonzero(traps.early)
        stretch, rip = stretch[self._early], traps["rip"][self._early]
        begins = np.ones(len(stretch), bool)
        begins[1:] = (stretch[1:] != stretch[:-1]) | (rip[1:] != rip[:-1])
        runs = np.flatnonzero(begins)
        self._lengths = np.diff(np.append(runs, len(stretch)))
        self._runs: Array | None = None  # by run, the number of its piece; None: the same
        self.stretch, self.rip = stretch[runs], rip[runs]
        self.first = self._early[runs]
        self.count = self._lengths
        leave = traps["end_ns"][self._early]
        self.end = np.maximum.reduceat(leave, runs) if len(runs) else leave
        if (self.stretch[1:] != self.stretch[:-1]).all():
            return
        order = np.lexsort((self.rip, self.stretch))
        stretch, rip = self.stretch[order], self.rip[order]
        begins = np.ones(len(order), bool)
        begins[1:] = (stretch[1:] != stretch[:-1]) | (rip[1:] != rip[:-1])
        self._runs = np.empty(len(order), np.int64)
        self._runs[order] = np.cumsum(begins) - 1
        groups = np.flatnonzero(begins)
        self.stretch, self.rip = stretch[groups], rip[groups]
        self.first = np.minimum.reduceat(self.first[order], groups)
        self.count = np.add.reduceat(self.count[order], groups)
        self.end = np.maximum.reduceat(self.end[order], groups)

    def rows(self, chosen: Bools) -> tuple[Array, npt.NDArray[np.intp]]:
        """The traps of the chosen pieces, piece by piece in order of time, and where each piece begins."""
        number = np.cumsum(chosen) - 1
        mine = chosen if self._runs is None else chosen[self._runs]
        rows = self._early[np.repeat(mine, self._lengths)]
        if self._runs is not None:
            piece = np.repeat(number[self._runs], self._lengths)[np.repeat(mine, self._lengths)]
            rows = rows[np.argsort(piece, kind="stable")]
        counts = self.count[chosen]
        return rows, np.cumsum(counts) - counts


# Adds the later part of each chain to the earlier one.
def _join(chains: Array, later: Array) -> None:
    for name in _SUMS:
        chains[name] += later[name]
    for name in ("end", "msr_end", "vcpu"):
        chains[name] = np.maximum(chains[name], later[name])
    chains["msr_start"] = np.minimum(chains["msr_start"], later["msr_start"])
    chains["after"] = later["after"]
    chains["first"] = np.sort(np.concatenate([chains["first"], later["first"]], axis=1), axis=1)[:, :FIRST]
    chains["last"] = np.sort(np.concatenate([chains["last"], later["last"]], axis=1), axis=1)[:, -LAST:]


def _spans(chains: Array, place: Array) -> Array:
    found = np.zeros(len(chains), SPAN)
    found["place"] = place
    for name in ("start", "end", "before", "after"):
        found[name] = chains[name]
    return found


# Spans of one place with no longer pause between them as one.
def _joined(spans: Array, pause: int) -> Array:
    spans = spans[np.lexsort((spans["start"], spans["place"]))]
    if not len(spans):
        return spans
    begins = np.ones(len(spans), bool)
    begins[1:] = (spans["place"][1:] != spans["place"][:-1]) | (
        spans["start"][1:] - spans["end"][:-1] > pause
    )
    at = np.flatnonzero(begins)
    ends = np.append(at[1:], len(spans)) - 1
    found = spans[at]
    found["end"], found["after"] = spans["end"][ends], spans["after"][ends]
    return found
