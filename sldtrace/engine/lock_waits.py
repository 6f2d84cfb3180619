"""Waits inside KVM for what a penalized vCPU may hold, and how much of them the vCPU was in traps.

A wait is known when it begins, but the traps until its end come later: it is pending until a slice has passed
its end.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from sldtrace.engine.bisection import upto
from sldtrace.engine.columns import Columns
from sldtrace.engine.first_last import FirstLast
from sldtrace.engine.fold import Batch
from sldtrace.engine.keys import Keys, joined
from sldtrace.engine.tables import Array, Table
from sldtrace.engine.traps import Traps
from sldtrace.model.early_returns import Bools, Times

WAIT_JIFFIES = 1
"""A wait for a penalized vCPU that counts, at least."""

MOST_GROUPS = 1 << 17
"""The most threads, the most pairs of vCPU and lock, of waiting threads, and of callers that are kept.

Waits of further vCPUs are left out; further waiting threads and callers are not counted.
"""

MOST_PENDING = 1 << 17
"""Waits whose end is to come; if there are more, traps that are to come do not count for them."""

_GROUP = np.dtype(
    [
        ("tgid", "u4"),
        ("tid", "u4"),
        ("what", "u4"),
        ("waits", "i8"),
        ("threads", "i8"),
        ("waited_ns", "i8"),
        ("longest_ns", "i8"),
        ("trapped_ns", "i8"),
        ("interrupted", "i8"),
        ("start_ns", "i8"),
        ("end_ns", "i8"),
    ]
)
_PENDING = np.dtype([("group", "i8"), ("who", "i8"), ("begin", "i8"), ("end", "i8")])
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Usual:
    """Waits of one process for one kind of lock while none of its vCPUs was in a trap."""

    waits: int
    longest_ns: int


class LockWaits:
    """Waits of WAIT_JIFFIES or more by penalized vCPU and kind of lock, in order of the first wait.

    Fields of `groups`: tgid, tid: of the vCPU; what: as in the records; waits, threads: how many, and of how
    many threads; waited_ns, longest_ns: in all and the longest; trapped_ns: of waited_ns, how long the vCPU
    was in traps; interrupted: waits that a signal ended; start_ns, end_ns: the first begin and the last end.
    shown: the first and the last waits of each group.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap", "stall"})

    def __init__(self, tick_ns: int, most: int = MOST_GROUPS) -> None:
        self._least_ns = WAIT_JIFFIES * tick_ns
        self._who, self._keys = Keys(most), Keys(most)
        self._groups = Table(_GROUP)
        self.shown = FirstLast()
        self._waiters, self._callers = Keys(most), Keys(most)
        self._calls = Table(np.int64)
        self._spent = Table([("trapped_ns", "i8"), ("end_ns", "i8")])  # by _who: in all traps; of the last
        self._pending = np.zeros(0, _PENDING)
        self._processes, self._usual_keys = Keys(most), Keys(most)
        self._latest = Table(np.int64)  # by process: the last end of a trap
        self._usual = Table([("waits", "i8"), ("longest_ns", "i8")])
        self._pending_usual = np.zeros(0, _PENDING)  # who: the process

    @property
    def groups(self) -> Array:
        """One row for each vCPU and kind of lock."""
        found = self._groups.upto(len(self._keys)).copy()
        spent = self._until(None, self._pending["who"], self._pending["end"])
        np.add.at(found["trapped_ns"], self._pending["group"], spent)
        return found

    def callers(self, group: int) -> list[tuple[int, int]]:
        """The return addresses of the waits of a group and how often each occurs, the most frequent first."""
        keys = self._callers.keys
        mine = np.flatnonzero(keys >> np.uint64(32) == group)
        counts = self._calls.upto(len(keys))[mine]
        order = np.argsort(-counts, kind="stable")
        addresses = (keys[mine] & np.uint64(0xFFFF_FFFF))[order]
        return list(zip(addresses.tolist(), counts[order].tolist(), strict=True))

    def usual(self, tgid: int, what: int) -> Usual:
        """The waits of that process for that kind of lock during which none of its threads was in a trap."""
        process = self._processes.look_up(np.array([tgid], np.uint64))
        (number,) = self._usual_keys.look_up(joined(process, np.array([what])))
        if process[0] < 0 or number < 0:
            return Usual(0, 0)
        mine = self._pending_usual[self._pending_usual["group"] == number]
        mine = mine[~self._busy(None, mine)]
        found = self._usual.upto(len(self._usual_keys))[number]
        longest = int((mine["end"] - mine["begin"]).max(initial=0))
        return Usual(int(found["waits"]) + len(mine), max(int(found["longest_ns"]), longest))

    @property
    def left_out(self) -> int:
        """Waits for further vCPUs."""
        return self._who.left_out + self._keys.left_out

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        traps, stalls = batch.traps, batch.records("stall")
        if not len(traps) and not len(stalls):
            return
        here = None
        if len(traps):
            tgid, tid = batch.threads.tgid[traps.who], batch.threads.tid[traps.who]
            here = _Here(
                traps, self._who.numbers(joined(tgid, tid)), self._processes.numbers(tgid.astype(np.uint64))
            )
        if len(stalls):
            self._begin(here, stalls)
            self._begin_usual(stalls)
        horizon = max(
            int(traps["start_ns"].max()) if len(traps) else 0, int(stalls["ns"].max()) if len(stalls) else 0
        )
        due, self._pending = _due(self._pending, horizon)
        spent = self._until(here, due["who"], due["end"])
        np.add.at(self._groups.upto(len(self._keys))["trapped_ns"], due["group"], spent)
        # A trap that starts at the horizon may still come.
        due, self._pending_usual = _due(self._pending_usual, horizon - 1)
        due = due[~self._busy(here, due)]
        usual = self._usual.upto(len(self._usual_keys))
        np.add.at(usual["waits"], due["group"], 1)
        np.maximum.at(usual["longest_ns"], due["group"], due["end"] - due["begin"])
        if here is not None:
            self._remember(here)

    def _begin(self, here: "_Here | None", stalls: Columns) -> None:
        begin, end = (stalls[name].astype(np.int64) for name in ("ns", "end_ns"))
        stalls = stalls[(stalls["penalized_tid"] != 0) & (end - begin >= self._least_ns)]
        who = self._who.numbers(joined(stalls["tgid"], stalls["penalized_tid"]))
        stalls, who = stalls[who >= 0], who[who >= 0]
        known = len(self._keys)
        group = self._keys.numbers(joined(who, stalls["what"]))
        stalls, who, group = stalls[group >= 0], who[group >= 0], group[group >= 0]
        if not len(stalls):
            return
        begin, end = (stalls[name].astype(np.int64) for name in ("ns", "end_ns"))
        rows = self._groups.upto(len(self._keys))
        rows["start_ns"][known:] = _NEVER
        for name, value in (("tgid", "tgid"), ("tid", "penalized_tid"), ("what", "what")):
            rows[name][group] = stalls[value]
        self.shown.add(group, begin)
        np.add.at(rows["waits"], group, 1)
        np.add.at(rows["waited_ns"], group, end - begin)
        np.maximum.at(rows["longest_ns"], group, end - begin)
        np.add.at(rows["interrupted"], group, stalls["result"] < 0)
        np.minimum.at(rows["start_ns"], group, begin)
        np.maximum.at(rows["end_ns"], group, end)
        np.subtract.at(rows["trapped_ns"], group, self._until(here, who, begin))
        waiters = len(self._waiters)
        self._waiters.numbers(joined(group, stalls["tid"]))
        added = self._waiters.keys[waiters:] >> np.uint64(32)
        np.add.at(rows["threads"], added.astype(np.int64), 1)
        callers = self._callers.numbers(joined(group, stalls["caller"]))
        np.add.at(self._calls.upto(len(self._callers)), callers[callers >= 0], 1)
        self._pending = np.concatenate([self._pending, _pending(group, who, begin, end)])

    def _begin_usual(self, stalls: Columns) -> None:
        stalls = stalls[stalls["penalized_tid"] == 0]
        process = self._processes.numbers(stalls["tgid"].astype(np.uint64))
        stalls, process = stalls[process >= 0], process[process >= 0]
        group = self._usual_keys.numbers(joined(process, stalls["what"]))
        found = _pending(group, process, stalls["ns"], stalls["end_ns"])
        self._pending_usual = np.concatenate([self._pending_usual, found[group >= 0]])

    # How long each thread was in traps until then; here: the slice, in which the time may be.
    def _until(self, here: "_Here | None", who: Array, times: Array) -> Times:
        before = self._spent.upto(len(self._who))[who]
        found: Times = before["trapped_ns"] - np.maximum(before["end_ns"] - times, 0)
        if here is None or not len(who):
            return found
        begin, position = here.begun(who, times)
        started = position > begin
        ends = here.traps["end_ns"][np.maximum(position - 1, 0)]
        spent = here.spent[position] - here.spent[begin] - np.maximum(ends - times, 0)
        return np.where(started, before["trapped_ns"] + spent, found)

    # Was any thread of the process in a trap? Of the traps that start until the end of the wait, one ends at
    # its begin or later.
    def _busy(self, here: "_Here | None", waits: Array) -> Bools:
        latest = self._latest.upto(len(self._processes))[waits["who"]]
        if here is not None and len(waits):
            latest = np.maximum(latest, here.latest_ends(waits["who"], waits["end"], len(self._processes)))
        found: Bools = latest >= waits["begin"]
        return found

    def _remember(self, here: "_Here") -> None:
        known = here.who >= 0
        spent = self._spent.upto(len(self._who))
        who = here.who[known]
        total = here.traps.sum(here.traps["end_ns"] - here.traps["start_ns"])
        spent["trapped_ns"][who] += total[known]
        spent["end_ns"][who] = here.traps["end_ns"][here.traps.tails][known]
        ends = np.maximum.reduceat(here.traps["end_ns"], here.traps.heads)
        known = here.process >= 0
        latest = self._latest.upto(len(self._processes))
        np.maximum.at(latest, here.process[known], ends[known])


class _Here:
    """The traps of one slice. who, process: of each of its threads; -1: there was no room."""

    def __init__(self, traps: Traps, who: Array, process: Array) -> None:
        self.traps = traps
        self.who = who
        self.process = process

    @cached_property
    def spent(self) -> Times:
        """The length of all traps before each one."""
        found: Times = np.zeros(len(self.traps) + 1, np.int64)
        np.cumsum(self.traps["end_ns"] - self.traps["start_ns"], out=found[1:])
        return found

    def begun(self, who: Array, times: Array) -> tuple[Array, Array]:
        """For each thread and time the positions of its first trap, and after its last that had started."""
        place = np.full(int(max(who.max(), self.who.max(initial=0))) + 1, -1, np.int64)
        known = self.who >= 0
        place[self.who[known]] = np.flatnonzero(known)
        mine = place[who]
        begin = np.where(mine >= 0, self.traps.heads[mine], 0)
        end = np.where(mine >= 0, begin + self.traps.lengths[mine], 0)
        return begin, upto(self.traps["start_ns"], begin, end, times)

    def latest_ends(self, process: Array, times: Array, count: int) -> Times:
        """For each process and time the last end of its traps that had started; 0 if there are none.

        count: of processes.
        """
        asked = np.zeros(count + 1, bool)  # the last one: -1
        asked[process] = True
        of = np.repeat(self.process, self.traps.lengths)
        at = np.flatnonzero(asked[of])
        of, starts, ends = of[at], self.traps["start_ns"][at], self.traps["end_ns"][at]
        order = np.lexsort((starts, of))
        of, starts, ends = of[order], starts[order], ends[order]
        # The largest so far in each process: ranks of ends, higher from process to process.
        values, rank = np.unique(ends, return_inverse=True)
        largest = np.maximum.accumulate(of * len(values) + rank.reshape(-1))
        begin, end = (np.searchsorted(of, process, side) for side in ("left", "right"))
        position = upto(starts, begin, end, times)
        if not len(at):
            return np.zeros(len(process), np.int64)
        found: Times = np.where(position > begin, values[largest[position - 1] % len(values)], 0)
        return found


def _pending(group: Array, who: Array, begin: Array, end: Array) -> Array:
    found = np.zeros(len(group), _PENDING)
    found["group"], found["who"], found["begin"], found["end"] = group, who, begin, end
    return found


# Those that end at the horizon or before, and the others; all if there are too many.
def _due(pending: Array, horizon_ns: int) -> tuple[Array, Array]:
    due = pending["end"] <= horizon_ns
    if len(pending) - np.count_nonzero(due) > MOST_PENDING:
        due[:] = True
    return pending[due], pending[~due]
