"""Chains of early returns as rows: made of the traps of a slice, joined over slices, and added up."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sldtrace.engine.tables import Array
from sldtrace.engine.traps import Traps
from sldtrace.model.early_returns import Bools

FIRST, LAST = 4, 3
"""How many of the first and of the last traps in loops are remembered, by their start."""

NEVER = np.iinfo(np.int64).max
"""Later than any time."""

COUNTERS = [(name, "i8") for name in ("traps", "early", "semaphore", "off", "slept_ns", "waited_ns")]
"""Of one thread: traps, early returns, those at the semaphore, traps after which detection was off, and the
time in the sleep (no longer than the longest one of this kernel) and in the wait for the semaphore of all its
penalties."""

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
    ("before", COUNTERS),  # the thread's counters before the first trap
    ("after", COUNTERS),  # and after the last
    ("first", "i8", (FIRST,)),  # starts of the first traps; NEVER: there is none
    ("last", "i8", (LAST,)),  # and of the last; -1: there is none
    ("vcpu", "i4"),
    ("guest", "?"),
]
CHAIN = np.dtype(
    [
        *_COMMON,
        ("of_first", [("exits", "i8"), ("guest_ns", "i8"), ("watched", "i8")]),
        ("msr_start", "i8"),  # of the traps for which writes of MSR_TEST_CTRL were watched
        ("msr_end", "i8"),
    ]
)
"""A chain. of_first: the part of the sums that is of the first trap: it is of the time before the chain."""

TOTAL = np.dtype([*_COMMON, ("loops", "i8"), ("in_loops", "i8"), ("longest", "i8"), ("watched_ns", "i8")])
"""All loops of one thread at one address."""

SPAN = np.dtype([("place", "i8"), ("start", "i8"), ("end", "i8"), ("before", COUNTERS), ("after", COUNTERS)])
"""A loop; or, of very many, several with short pauses between them."""


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


class Counted(NamedTuple):
    """A counter of the threads.

    values: what each trap adds; upto: their sums up to each trap; before: what is to be added, by chain.
    """

    values: Array
    upto: Array
    before: Array


def of_traps(traps: Traps, rows: Array, offsets: Array, counters: Mapping[str, Counted]) -> Array:
    """The chains of which these are the traps, each from its offset on: see CHAIN.

    counters: of the threads, by name.
    """
    found = np.zeros(len(offsets), CHAIN)
    if not len(offsets):
        return found
    ends = np.append(offsets[1:], len(rows))
    first, last = rows[offsets], rows[ends - 1]
    enter, leave = traps["start_ns"], traps["end_ns"]
    every = len(rows) == len(traps) and bool((rows[1:] > rows[:-1]).all())

    def of(column: Array) -> Array:
        return column if every else column[rows]

    found["count"] = ends - offsets
    watched, msr = of(traps.flag("EXITS_WATCHED")), of(traps.flag("MSR_WATCHED"))
    for name, values in (
        ("at_semaphore", of(traps.at_semaphore)),
        ("unwatched", ~msr),
        ("missed", of(traps.flag("RETURN_MISSED"))),
    ):
        if values.any():
            found[name] = np.add.reduceat(values, offsets, dtype=np.int64)
    if watched.any():
        for name, values in (
            ("watched", watched),
            ("exits", np.where(watched, of(traps["exits"]), 0)),
            ("guest_ns", np.where(watched, of(traps["guest_ns"]), 0)),
        ):
            found[name] = np.add.reduceat(values, offsets, dtype=np.int64)
            found["of_first"][name] = values[offsets]
    found["start"], found["end"] = enter[first], np.maximum.reduceat(of(leave), offsets)
    if msr.all():
        found["msr_start"], found["msr_end"] = found["start"], found["end"]
    else:
        found["msr_start"] = np.minimum.reduceat(np.where(msr, of(enter), NEVER), offsets)
        found["msr_end"] = np.maximum.reduceat(np.where(msr, of(leave), -1), offsets)
    found["vcpu"] = np.maximum.reduceat(of(traps["vcpu"]), offsets)
    found["guest"] = traps.flag("GUEST")[first]
    for name, (values, upto, before) in counters.items():
        found["before"][name] = upto[first] - values[first] + before
        found["after"][name] = upto[last] + before
    for number in range(FIRST):
        each = offsets + number
        there = each < ends
        found["first"][:, number] = np.where(there, enter[rows[np.where(there, each, 0)]], NEVER)
    for number in range(LAST):
        each = ends - LAST + number
        there = each >= offsets
        found["last"][:, number] = np.where(there, enter[rows[np.where(there, each, 0)]], -1)
    return found


def join(chains: Array, later: Array) -> None:
    """Adds the later part of each chain to the earlier one."""
    for name in _SUMS:
        chains[name] += later[name]
    for name in ("end", "msr_end", "vcpu"):
        chains[name] = np.maximum(chains[name], later[name])
    chains["msr_start"] = np.minimum(chains["msr_start"], later["msr_start"])
    chains["after"] = later["after"]
    chains["first"] = np.sort(np.concatenate([chains["first"], later["first"]], axis=1), axis=1)[:, :FIRST]
    chains["last"] = np.sort(np.concatenate([chains["last"], later["last"]], axis=1), axis=1)[:, -LAST:]


def spans_of(chains: Array, place: Array) -> Array:
    """The spans of loops of these places."""
    found = np.zeros(len(chains), SPAN)
    found["place"] = place
    for name in ("start", "end", "before", "after"):
        found[name] = chains[name]
    return found


def join_spans(spans: Array, pause: int) -> Array:
    """Spans of one place with no longer pause (ns) between them as one."""
    if len(spans) < 2:
        return spans
    spans = spans[np.lexsort((spans["start"], spans["place"]))]
    begins = np.ones(len(spans), bool)
    begins[1:] = (spans["place"][1:] != spans["place"][:-1]) | (
        spans["start"][1:] - spans["end"][:-1] > pause
    )
    at = np.flatnonzero(begins)
    ends = np.append(at[1:], len(spans)) - 1
    found = spans[at]
    found["end"], found["after"] = spans["end"][ends], spans["after"][ends]
    return found


def add_up(totals: Array, chains: Array, place: Array) -> None:
    """Adds loops to the totals of their places, which are numbers of rows in `totals`.

    The loops of one place are in order of time.
    """
    if not len(chains):
        return
    order = np.argsort(place, kind="stable")
    chains, place = chains[order], place[order]
    begins = np.flatnonzero(np.append(True, place[1:] != place[:-1]))
    ends = np.append(begins[1:], len(place)) - 1
    mine = totals[place[begins]]
    new = mine["loops"] == 0
    for name in _SUMS:
        values = chains[name] - (chains["of_first"][name] if name in ("watched", "exits", "guest_ns") else 0)
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
    mine["first"][new] = NEVER
    # A loop has three traps or more: two hold the first four, one the last three.
    second = chains["first"][np.minimum(begins + 1, ends)].copy()
    second[begins == ends] = NEVER
    every = np.concatenate([mine["first"], chains["first"][begins], second], axis=1)
    mine["first"] = np.sort(every, axis=1)[:, :FIRST]
    mine["last"] = chains["last"][ends]
    totals[place[begins]] = mine
