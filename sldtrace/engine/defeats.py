"""Penalties that are wasted because the thread traps again on another core, where detection is on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sldtrace.engine.columns import Columns
from sldtrace.engine.cores import Cores
from sldtrace.engine.first_last import FirstLast
from sldtrace.engine.fold import Batch
from sldtrace.engine.places import Places
from sldtrace.engine.quantiles import Quantiles
from sldtrace.engine.tables import Array, Table, distinct
from sldtrace.model.early_returns import Times
from sldtrace.model.penalty import WINDOW_JIFFIES

PENALTIES = 3
"""Wasted penalties of a finding, at least."""

SHARE = 0.5
"""And this share of the completed ones."""

WINDOW = WINDOW_JIFFIES
"""The longest time from a penalty to the next trap on another core that counts, in jiffies; exclusive."""

_PLACE = np.dtype(
    [
        ("tgid", "u4"),
        ("tid", "u4"),
        ("rip", "u8"),
        ("completed", "i8"),
        ("start", "i8"),  # of the first completed one
        ("vcpu", "i4"),
        ("guest", "?"),
        ("defeated", "i8"),
        ("slept_ns", "i8"),  # in defeated ones
        ("end", "i8"),  # when the thread trapped again after the last of them
        ("watched", "i8"),  # gaps in which guest time was watched
        ("used_ns", "i8"),  # guest time in them
    ]
)


@dataclass(frozen=True)
class Defeats:
    """The penalties of one thread at one address that were slept to their end, and those that were wasted.

    vcpu: -1 if not known; start_ns: of the first trap; end_ns: when the thread trapped again after the last
    wasted one; gap_median_ns: from the end of a wasted penalty to the next trap; used_ns: guest time in these
    gaps, None if it was not watched; slept_ns: in wasted ones; shown: starts of the first and last of them.
    """

    tgid: int
    tid: int
    rip: int
    vcpu: int
    guest: bool
    completed: int
    defeated: int
    start_ns: int
    end_ns: int
    gap_median_ns: int
    used_ns: int | None
    slept_ns: int
    shown: tuple[int, ...]


class DefeatSums:
    """Finds wasted penalties.

    A penalty is wasted if the thread's next trap is at the same address and on another core, so soon that
    detection is still off on the core of the penalty: that of the CPU on which the thread wrote MSR_TEST_CTRL
    last in the trap, else that of the CPU where the trap ended.

    core: of a CPU; collect: a place whose wasted penalties are listed in `collected`, by their start.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap", "detection"})

    def __init__(
        self, tick_ns: int, core: Callable[[int], int], collect: tuple[int, int, int] | None = None
    ) -> None:
        self._window = WINDOW * tick_ns
        self._cores = Cores(core)
        self._numbers = Places()
        self._places = Table(_PLACE)
        self._gaps, self._shown = Quantiles(), FirstLast()
        self._writes: dict[int, tuple[int, int]] = {}  # by TID: time and CPU of the last write
        self._collect = collect
        self.collected: list[int] = []

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        traps, writes = batch.traps, batch.records("detection")
        if len(traps):
            self._add_completed(batch)
            self._add_defeated(batch, writes)
        if len(writes):
            tids, last = np.unique(writes["tid"][::-1], return_index=True)
            at = len(writes) - 1 - last
            times, cpus = writes["ns"][at].tolist(), writes["cpu"][at].tolist()
            self._writes.update(zip(tids.tolist(), zip(times, cpus, strict=True), strict=True))

    def found(self) -> list[Defeats]:
        """Those of each thread and address with enough of them, by TGID, TID and start."""
        places = self._places.upto(self._numbers.size)
        enough = (places["defeated"] >= PENALTIES) & (places["defeated"] >= SHARE * places["completed"])
        chosen = np.flatnonzero(enough)
        order = np.lexsort((places["start"][chosen], places["tid"][chosen], places["tgid"][chosen]))
        return [self._one(int(place), places[place]) for place in chosen[order]]

    def _one(self, place: int, row: Array) -> Defeats:
        return Defeats(
            tgid=int(row["tgid"]),
            tid=int(row["tid"]),
            rip=int(row["rip"]),
            vcpu=int(row["vcpu"]),
            guest=bool(row["guest"]),
            completed=int(row["completed"]),
            defeated=int(row["defeated"]),
            start_ns=int(row["start"]),
            end_ns=int(row["end"]),
            gap_median_ns=int(self._gaps.of(place, [0.5])[0]),
            used_ns=int(row["used_ns"]) if row["watched"] else None,
            slept_ns=int(row["slept_ns"]),
            shown=tuple(self._shown.times([place])),
        )

    def _add_completed(self, batch: Batch) -> None:
        traps = batch.traps
        rows = np.flatnonzero(traps.detection_off & traps.flag("SLEPT"))
        if not len(rows):
            return
        place, new = self._numbers.numbers(batch.threads, traps.thread[rows], traps["rip"][rows])
        places = self._places.upto(self._numbers.size)
        # In reverse, so that of several the first one stays.
        back, places_back = rows[::-1], place[::-1]
        fresh = np.zeros(len(places), bool)
        fresh[new] = True
        mine = fresh[places_back]
        back, at = back[mine], places_back[mine]
        places["tgid"][at], places["tid"][at] = traps["tgid"][back], traps["tid"][back]
        places["rip"][at], places["start"][at] = traps["rip"][back], traps["start_ns"][back]
        places["guest"][at] = traps.flag("GUEST")[back]
        places["vcpu"][new] = -1
        places["completed"] += np.bincount(place, minlength=len(places))
        vcpu = traps["vcpu"][rows]
        places["vcpu"][place[vcpu >= 0]] = vcpu[vcpu >= 0]

    # Each trap that wastes the one before it.
    def _add_defeated(self, batch: Batch, writes: Columns) -> None:
        traps, last = batch.traps, batch.traps.last
        completed = traps.detection_off & traps.flag("SLEPT")
        before = traps.before(completed, last.detection_off & last.flag("SLEPT"))
        gap = traps["start_ns"] - traps.previous("end_ns")
        soon = before & traps.has_previous & (traps["rip"] == traps.previous("rip")) & (gap < self._window)
        rows = np.flatnonzero(soon)
        if not len(rows):
            return
        start, end, cpu = (traps.previous(name)[rows] for name in ("start_ns", "end_ns", "end_cpu"))
        home = self._homes(writes, traps["tid"][rows], start, end, cpu)
        defeated = self._cores.of(traps["start_cpu"][rows]) != home
        rows, start = rows[defeated], start[defeated]
        if not len(rows):
            return
        place, _ = self._numbers.numbers(batch.threads, traps.thread[rows], traps["rip"][rows])
        places = self._places.upto(self._numbers.size)
        self._gaps.add(place, gap[rows])
        watched = traps.flag("EXITS_WATCHED")[rows]
        np.add.at(places["defeated"], place, 1)
        np.add.at(places["watched"], place, watched)
        np.add.at(places["used_ns"], place, np.where(watched, traps["guest_ns"][rows], 0))
        np.add.at(places["slept_ns"], place, traps.previous("sleep_ns")[rows])
        np.maximum.at(places["end"], place, traps["start_ns"][rows])
        self._shown.add(place, start)
        if self._collect is not None:
            tgid, tid, rip = self._collect
            mine = (traps["tgid"][rows] == tgid) & (traps["tid"][rows] == tid) & (traps["rip"][rows] == rip)
            self.collected += start[mine].tolist()

    # The core whose detection each of these traps switched off.
    def _homes(self, writes: Columns, tid: Array, start: Times, end: Times, end_cpu: Array) -> Times:
        writes = writes[np.isin(writes["tid"], tid) & (writes["tid"] > 0)]
        earlier = [(each, *self._writes[each]) for each in distinct(tid).tolist() if each in self._writes]
        known = np.array([each for each in earlier if each[0]], np.int64).reshape(-1, 3)
        who = np.concatenate([known[:, 0], writes["tid"].astype(np.int64)])
        when = np.concatenate([known[:, 1], writes["ns"].astype(np.int64)])
        cpu = np.concatenate([known[:, 2], writes["cpu"].astype(np.int64)])
        # The last write of the thread up to the end of the trap.
        order = np.lexsort(
            (np.arange(len(who) + len(tid)), np.concatenate([when, end]), np.concatenate([who, tid]))
        )
        newest = np.maximum.accumulate(np.where(order < len(who), np.arange(len(order)), -1))
        place = np.empty(len(order), np.int64)
        place[order] = np.where(newest >= 0, order[newest], -1)
        write = place[len(who) :]
        home = self._cores.of(end_cpu)
        if not len(who):
            return home
        inside = (write >= 0) & (who[write] == tid) & (when[write] >= start)
        return np.where(inside, self._cores.of(cpu[write]), home)
