"""When split-lock detection was off on which core, from the writes of MSR_TEST_CTRL and the traps.

A window begins with the write that switches detection off, and ends with the next thing of its core: a write
that switches it on, a trap (which shows that detection was on again), or the end of watching.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from sldtrace.engine.cores import Cores
from sldtrace.engine.fold import Batch
from sldtrace.engine.quantiles import Quantiles
from sldtrace.engine.tables import Array, Table, distinct
from sldtrace.host.msr import DETECT
from sldtrace.model.early_returns import Bools, Times
from sldtrace.model.penalty import WINDOW_JIFFIES

LEFT_OFF_JIFFIES = 25 * WINDOW_JIFFIES
"""From the last write that switches detection off to the end of a window that is too long: more than this."""

TOGGLE_JIFFIES = WINDOW_JIFFIES - 1
"""The same of a window that is too short: less than this, and a write ended it."""

TRAPPED, WRITTEN, OPEN = range(3)
"""How a window ended: a trap shows that detection was on; by a write; it was not seen to end."""

WINDOW = np.dtype(
    [
        ("core", "i8"),
        ("start_ns", "i8"),  # of the write that switched detection off
        ("last_ns", "i8"),  # of the last such write before it was on again
        ("writes", "i8"),  # how many
        ("end_ns", "i8"),  # of OPEN: when watching ended
        ("ended", "i1"),
        ("refused", "?"),  # was detection off on another core at last_ns?
    ]
)
_STATE = np.dtype(
    [("core", "i8"), ("window", WINDOW), ("open", "?"), ("newest_start", "i8"), ("newest_end", "i8")]
)
_NEVER = np.iinfo(np.int64).max


class WindowTracker:
    """Finds the windows of all cores, slice by slice.

    core: of a CPU; stops: when watching ended, in order of time. At the last one all windows end.
    """

    def __init__(self, core: Callable[[int], int], stops: Sequence[int]) -> None:
        self._cores = Cores(core)
        self._stops: Times = np.array(stops, np.int64)
        self._numbers: dict[int, int] = {}
        self._state = Table(_STATE)
        self._found: Array = np.zeros(0, WINDOW)  # of the last batch, by core and time

    def update(self, batch: Batch) -> Array:
        """The windows that ended in this batch: WINDOW, by core and time."""
        writes, traps = batch.records("detection"), batch.traps
        if not len(writes) and not self._open.any():
            self._remember(np.zeros(0, WINDOW))
            return self._found
        off = (writes["value"] & np.uint64(DETECT)) == 0
        at = self._number(self._cores.of(writes["cpu"]))
        concerned = self._open.copy()
        concerned[at[off]] = True
        trapped = self._known(self._cores.of(traps["start_cpu"]))
        mine = np.flatnonzero((trapped >= 0) & concerned[trapped]) if len(concerned) else np.zeros(0, np.intp)
        ns = writes["ns"].astype(np.int64)
        enter = traps["start_ns"][mine]
        until = max(ns.max(initial=0), traps["start_ns"].max(initial=0))
        stops, self._stops = self._stops[self._stops <= until], self._stops[self._stops > until]
        every = np.flatnonzero(concerned)
        return self._sweep(
            np.concatenate([trapped[mine], at, np.tile(every, len(stops))]),
            np.concatenate([enter, ns, np.repeat(stops, len(every))]),
            np.concatenate([np.zeros(len(mine), bool), off, np.zeros(len(every) * len(stops), bool)]),
            np.repeat([TRAPPED, WRITTEN, OPEN], [len(mine), len(ns), len(every) * len(stops)]),
        )

    def finish(self) -> Array:
        """The windows that are open at the end."""
        state = self._state.upto(len(self._numbers))[self._open]
        found = state["window"].copy()
        found["ended"] = OPEN
        found["end_ns"] = np.maximum(self._stops[0] if len(self._stops) else 0, found["last_ns"])
        return found

    def open_since(self) -> Times:
        """When each window that is open now began, in ns, in no order."""
        found: Times = self._state.upto(len(self._numbers))["window"]["start_ns"][self._open]
        return found

    def overlapping(self, core: Times, since: Times, until: Times) -> Bools:
        """For each stay on a core that ended in the last batch: was detection off at some time of it?"""
        found: Bools = np.zeros(len(core), bool)
        state = self._state.upto(len(self._numbers))
        for number in distinct(self._known(core)).tolist():
            if number < 0:
                continue
            mine = self._known(core) == number
            row = state[number]
            here = self._found[self._found["core"] == row["core"]]
            starts = np.append(row["newest_start"], here["start_ns"])
            ends = np.append(row["newest_end"], here["end_ns"])
            if row["open"]:
                starts, ends = np.append(starts, row["window"]["start_ns"]), np.append(ends, _NEVER)
            begun = np.searchsorted(starts, until[mine])
            found[mine] = (begun > 0) & (ends[np.maximum(begun - 1, 0)] > since[mine])
        return found

    @property
    def _open(self) -> Bools:
        found: Bools = self._state.upto(len(self._numbers))["open"]
        return found

    # Each event: number of its core, time, does it switch detection off, and what it is.
    def _sweep(self, core: Array, ns: Times, off: Bools, what: Array) -> Array:
        if not len(core):
            self._remember(np.zeros(0, WINDOW))
            return self._found
        # In this order, for a trap comes before its own write even if the clock does not tell.
        order = np.lexsort((what, ns, core))
        core, ns, off, what = core[order], ns[order], off[order], what[order]
        state = self._state.upto(len(self._numbers))
        heads = np.ones(len(core), bool)
        heads[1:] = core[1:] != core[:-1]
        before = np.append(False, off[:-1])
        before[heads] = state["open"][core[heads]]
        begins, ends = off & ~before, ~off & before
        # The events of the window that each event belongs to begin here; -1: in a slice before.
        place = np.arange(len(core))
        first = np.maximum.accumulate(np.where(heads, place, 0))
        begun = np.maximum.accumulate(np.where(begins, place, -1))
        carried = begun < first
        known = state["window"][core]
        start = np.where(carried, known["start_ns"], ns[begun])
        opened = np.sort(ns[begins])
        closed = np.sort(ns[ends])
        others = np.count_nonzero(state["open"]) + np.searchsorted(opened, ns, "right")
        others -= np.searchsorted(closed, ns, "left") + 1
        others -= _same_moment(core, ns, begins, ends)
        # Of the write that each event follows.
        last = np.where(heads, known["last_ns"], np.append(0, ns[:-1]))
        refused = np.where(heads, known["refused"], np.append(False, others[:-1] > 0))
        found = np.zeros(np.count_nonzero(ends), WINDOW)
        found["core"] = state["core"][core[ends]]
        found["start_ns"], found["last_ns"], found["end_ns"] = start[ends], last[ends], ns[ends]
        found["writes"] = np.where(carried, known["writes"] + place - first, place - begun)[ends]
        found["ended"], found["refused"] = what[ends], refused[ends]
        self._remember(found)
        tails = np.append(np.flatnonzero(heads)[1:], len(core)) - 1
        mine = state[core[tails]]
        mine["open"] = off[tails]
        window = mine["window"]
        window["core"] = mine["core"]
        window["start_ns"], window["last_ns"], window["refused"] = start[tails], ns[tails], others[tails] > 0
        window["writes"] = np.where(carried, known["writes"] + place - first, place - begun)[tails] + 1
        state[core[tails]] = mine
        return found

    # The windows before those of this batch: of each core the newest one.
    def _remember(self, found: Array) -> None:
        state = self._state.upto(len(self._numbers))
        earlier = self._found
        if len(earlier):
            last = np.append(earlier["core"][1:] != earlier["core"][:-1], True)
            numbers = self._known(earlier["core"][last])
            state["newest_start"][numbers] = earlier["start_ns"][last]
            state["newest_end"][numbers] = earlier["end_ns"][last]
        self._found = found

    def _number(self, cores: Times) -> Array:
        for core in distinct(cores).tolist():
            if core not in self._numbers:
                number = self._numbers[core] = len(self._numbers)
                self._state.upto(number + 1)["core"][number] = core
        return self._known(cores)

    # The numbers of these cores; -1: of the core no write was seen.
    def _known(self, cores: Times) -> Array:
        found = np.full(len(cores), -1, np.int64)
        if not len(self._numbers) or not len(cores):
            return found
        known = self._state.upto(len(self._numbers))["core"]
        order = np.argsort(known)
        at = np.minimum(np.searchsorted(known[order], cores), len(known) - 1)
        there = known[order][at] == cores
        found[there] = order[at[there]]
        return found


# How many other windows of its own core ended or began at the moment of each event (by core and time).
def _same_moment(core: Array, ns: Times, begins: Bools, ends: Bools) -> Array:
    place = np.arange(len(core))
    changed = (core[1:] != core[:-1]) | (ns[1:] != ns[:-1])
    first = np.maximum.accumulate(np.where(np.append(True, changed), place, 0))
    last = np.minimum.accumulate(np.where(np.append(changed, True), place, len(core))[::-1])[::-1]
    ended, begun = np.append(0, np.cumsum(ends)), np.cumsum(begins)
    found: Array = ended[place] - ended[first] + begun[last] - begun[place]
    return found


_SUMS = np.dtype(
    [
        ("windows", "i8"),
        ("long", "i8"),
        ("long_open", "i8"),  # of long, those that were not seen to end
        ("longest_ns", "i8"),
        ("long_ns", "i8"),
        ("long_start_ns", "i8"),
        ("long_end_ns", "i8"),
        ("open_end_ns", "i8"),
        ("short", "i8"),
        ("short_start_ns", "i8"),
        ("short_end_ns", "i8"),
        ("refused", "?"),
    ]
)


class WindowSums:
    """Sums of the windows of each core: all, those that are too long, and those that are too short.

    tick_ns: length of a jiffy; the others: see WindowTracker. A window's length is from its last write.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap", "detection"})

    def __init__(self, tick_ns: int, core: Callable[[int], int], stops: Sequence[int]) -> None:
        self._tracker = WindowTracker(core, stops)
        self._limit, self._least = LEFT_OFF_JIFFIES * tick_ns, TOGGLE_JIFFIES * tick_ns
        self._sums: dict[int, Array] = {}
        self._short = Quantiles()
        self._finished = False

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        self._add(self._tracker.update(batch))

    def finish(self) -> None:
        """Ends the windows that are open."""
        self._add(self._tracker.finish())

    def cores(self) -> list[tuple[int, Array]]:
        """Each core that had a window, by number, and its sums: fields as in this module's _SUMS."""
        return sorted(self._sums.items(), key=lambda each: each[0])

    def short_median_ns(self, core: int) -> int:
        """The median length of the windows of this core that were too short."""
        return int(self._short.of(list(self._sums).index(core), [0.5])[0])

    def _add(self, found: Array) -> None:
        for core in distinct(found["core"]).tolist():
            mine = found[found["core"] == core]
            if core not in self._sums:
                self._sums[core] = np.zeros((), _SUMS)
                self._sums[core]["long_start_ns"] = self._sums[core]["short_start_ns"] = _NEVER
            sums = self._sums[core]
            lasted = mine["end_ns"] - mine["last_ns"]
            long, short = lasted > self._limit, (mine["ended"] == WRITTEN) & (lasted < self._least)
            sums["windows"] += len(mine)
            sums["long"] += np.count_nonzero(long)
            sums["short"] += np.count_nonzero(short)
            if long.any():
                opened = long & (mine["ended"] == OPEN)
                sums["long_open"] += np.count_nonzero(opened)
                sums["longest_ns"] = max(sums["longest_ns"], lasted[long].max())
                sums["long_ns"] += lasted[long].sum()
                sums["long_start_ns"] = min(sums["long_start_ns"], mine["last_ns"][long].min())
                sums["long_end_ns"] = max(sums["long_end_ns"], mine["end_ns"][long].max())
                sums["open_end_ns"] = max(sums["open_end_ns"], mine["end_ns"][opened].max(initial=0))
                sums["refused"] |= mine["refused"][long].any()
            if short.any():
                sums["short_start_ns"] = min(sums["short_start_ns"], mine["start_ns"][short].min())
                sums["short_end_ns"] = max(sums["short_end_ns"], mine["end_ns"][short].max())
                number = list(self._sums).index(core)
                self._short.add(np.full(np.count_nonzero(short), number), lasted[short])
