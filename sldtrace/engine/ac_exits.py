"""VM exits by #AC that no trap belongs to, of each thread: the guest's own exceptions.

An exit has a trap if a guest's split lock is handled before the next entry. So the first trap that starts at
an exit or after it decides; until there is one, the exit is pending. Of pending exits of a thread only the
last one can have a trap, because the others ended before it began.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sldtrace.engine.bisection import upto
from sldtrace.engine.columns import Columns
from sldtrace.engine.first_last import FirstLast
from sldtrace.engine.fold import Batch
from sldtrace.engine.keys import Keys, joined
from sldtrace.engine.selected import Selected
from sldtrace.engine.tables import Array, Table
from sldtrace.host.exits import AC_VECTOR, SVM_AC, VMX_EXCEPTION
from sldtrace.model.early_returns import Bools, Times
from sldtrace.recording import schema
from sldtrace.recording.layout import Records

MOST_THREADS = 1 << 17
"""Threads with guest traps or with such exits; further ones are left out."""

MOST_RECENT = 1 << 18
"""How many traps are kept one by one, of threads for which no counter has been read yet.

A counter says since when it counts. If more traps than these came from then until it is read for the first
time, it counts the others as of before.
"""

_NEVER = np.iinfo(np.int64).max
_SEEN = [("count", "i8"), ("rip", "u8"), ("mixed", "?")]  # exits, the first one's address, are there others?
_ROW = np.dtype(
    [
        ("traps", "i8"),
        ("first_ns", "i8"),  # start of the first trap
        ("all", _SEEN),
        ("matched", "i8"),  # exits of which it is known whether a trap followed
        ("own", _SEEN),  # of them, those that none followed
        ("sure", _SEEN),  # pending, but the last one
        # The last one that is pending:
        ("last", [("there", "?"), ("ns", "i8"), ("until", "i8"), ("rip", "u8")]),
        ("counted", "?"),  # was a counter read?
        ("before", "i8"),  # traps before it counted
        ("upto", "i8"),  # traps until it was read for the last time
    ]
)


@dataclass(frozen=True)
class AcExits:
    """The VM exits by #AC of one thread.

    traps: of guests; counted_traps: of them, those in the time for which exits were counted. exits: that were
    recorded one by one; matched: those from the first trap to the last; own: those of them that no trap
    followed. rip, own_rip: the address of all, or of all own ones; None: there are none, or several. times,
    own_times: of the first and the last ones.
    """

    traps: int = 0
    counted_traps: int = 0
    exits: int = 0
    rip: int | None = None
    matched: int = 0
    own: int = 0
    own_rip: int | None = None
    times: tuple[int, ...] = ()
    own_times: tuple[int, ...] = ()


class AcExitSummary:
    """Finds the exits by #AC of all threads, and which of them a trap followed."""

    kinds: ClassVar[frozenset[str]] = frozenset({"trap", "exit", "counts"})

    def __init__(self, most: int = MOST_THREADS) -> None:
        self._who = Keys(most)
        self._rows = Table(_ROW)
        self._times = {name: FirstLast() for name in ("all", "own", "sure")}
        self._recent: list[tuple[Array, Array]] = []  # threads and starts
        self._recent_size = 0

    def of(self, tgid: int, tid: int) -> AcExits:
        """Of one thread."""
        (number,) = self._who.look_up(joined(np.array([tgid]), np.array([tid])))
        if number < 0:
            return AcExits()
        row = self._rows.upto(len(self._who))[number]
        return AcExits(
            traps=int(row["traps"]),
            counted_traps=int(row["upto"] - row["before"]),
            exits=int(row["all"]["count"]),
            rip=_address(row["all"]),
            matched=int(row["matched"]),
            own=int(row["own"]["count"]),
            own_rip=_address(row["own"]),
            times=tuple(self._times["all"].times([number])),
            own_times=tuple(self._times["own"].times([number])),
        )

    @property
    def left_out(self) -> int:
        """Records of further threads."""
        return self._who.left_out

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        traps = Selected(batch.traps, batch.traps.flag("GUEST"))
        exits, counts = batch.records("exit"), batch.records("counts")
        exits, counts = exits[by_ac(exits)], counts[by_ac(counts)]
        who = self._who.numbers(joined(batch.threads.tgid[traps.who], batch.threads.tid[traps.who]))
        here = _Here(traps, who)
        if len(exits):
            number = self._who.numbers(joined(exits["tgid"], exits["tid"]))
            exits, number = exits[number >= 0], number[number >= 0]
            order = np.argsort(number, kind="stable")
            exits, number = exits[order], number[order]
        self._decide(here)
        if len(exits):
            self._add_exits(here, number, exits)
        if len(counts):
            number = self._who.numbers(joined(counts["tgid"], counts["tid"]))
            self._add_counts(here, number[number >= 0], counts[number >= 0])
        self._add_traps(here)

    # The first trap of each thread decides about its pending exits.
    def _decide(self, here: "_Here") -> None:
        if not len(here.who):
            return
        rows = self._rows.upto(len(self._who))
        mine = rows[here.who]
        first, last = here.starts[here.begin], mine["last"]
        mine["matched"] += mine["sure"]["count"] + last["there"]
        _merge(mine["own"], mine["sure"])
        last_is_own = last["there"] & (first > last["until"])
        _merge(mine["own"], _one(last_is_own, last["rip"]))
        self._times["sure"].move(self._times["own"], here.who)
        self._times["own"].add(here.who[last_is_own], last["ns"][last_is_own])
        for name in ("sure", "last"):
            mine[name] = np.zeros((), _ROW[name])
        rows[here.who] = mine

    def _add_exits(self, here: "_Here", who: Array, exits: Columns) -> None:
        rows = self._rows.upto(len(self._who))
        begin, end = here.stretch(who)
        ns, host_ns = (exits[name].astype(np.int64) for name in ("ns", "host_ns"))
        following = upto(here.starts, begin, end, ns, inclusive=False)
        some = end > begin
        starts = np.append(here.starts, _NEVER)
        first = np.where(rows["traps"][who] > 0, rows["first_ns"][who], np.where(some, starts[begin], _NEVER))
        counts = (host_ns > 0) & (ns >= first)
        known = counts & (following < end)
        trapped = known & (starts[np.minimum(following, len(starts) - 1)] <= ns + host_ns)
        rips = exits["rip"]
        self._see("all", who, ns, rips)
        distinct, matched = np.unique(who[known], return_counts=True)
        rows["matched"][distinct] += matched
        own = known & ~trapped
        self._see("own", who[own], ns[own], rips[own])
        # What is pending: all but the last one of each thread are sure.
        late = np.flatnonzero(counts & ~known)
        if not len(late):
            return
        is_last = np.append(who[late][1:] != who[late][:-1], True)
        sure, at = late[~is_last], late[is_last]
        self._see("sure", who[sure], ns[sure], rips[sure])
        mine = rows[who[at]]
        there = mine["last"]["there"].copy()
        _merge(mine["sure"], _one(there, mine["last"]["rip"]))
        self._times["sure"].add(who[at][there], mine["last"]["ns"][there])
        mine["last"]["there"] = True
        mine["last"]["ns"], mine["last"]["rip"] = ns[at], rips[at]
        mine["last"]["until"] = (ns + host_ns)[at]
        rows[who[at]] = mine

    # Adds exits, by thread, to what was seen of that name.
    def _see(self, name: str, who: Array, ns: Times, rips: Array) -> None:
        if not len(who):
            return
        self._times[name].add(who, ns)
        heads = np.flatnonzero(np.append(True, who[1:] != who[:-1]))
        lengths = np.diff(heads, append=len(who))
        new = np.zeros(len(heads), _SEEN)
        new["count"], new["rip"] = lengths, rips[heads]
        new["mixed"] = np.logical_or.reduceat(rips != np.repeat(rips[heads], lengths), heads)
        rows = self._rows.upto(len(self._who))
        mine = rows[name][who[heads]]
        _merge(mine, new)
        rows[name][who[heads]] = mine

    def _add_counts(self, here: "_Here", who: Array, counts: Columns) -> None:
        if not len(who):
            return
        rows = self._rows.upto(len(self._who))
        begin, end = here.stretch(who)
        until = rows["traps"][who] + upto(here.starts, begin, end, counts["ns"].astype(np.int64)) - begin
        distinct, first = np.unique(who, return_index=True)
        fresh = ~rows["counted"][distinct]
        since: Array = np.full(len(rows), _NEVER)
        since[distinct[fresh]] = counts["since_ns"][first[fresh]].astype(np.int64)
        new = distinct[fresh]
        if len(new):
            recent, starts = self._recent_traps(here)
            later = np.bincount(recent[starts >= since[recent]], minlength=len(rows))
            begin, end = here.stretch(new)
            rows["before"][new] = rows["traps"][new] + (end - begin) - later[new]
        np.maximum.at(rows["upto"], who, until)
        rows["counted"][distinct] = True

    def _add_traps(self, here: "_Here") -> None:
        if not len(here.who):
            return
        rows = self._rows.upto(len(self._who))
        mine = rows[here.who]
        mine["first_ns"] = np.where(mine["traps"] == 0, here.starts[here.begin], mine["first_ns"])
        mine["traps"] += here.lengths
        rows[here.who] = mine
        who, starts = here.uncounted(rows["counted"])
        if len(who):
            self._recent.append((who, starts))
            self._recent_size += len(who)
        while self._recent and self._recent_size - len(self._recent[0][0]) >= MOST_RECENT:
            self._recent_size -= len(self._recent.pop(0)[0])

    def _recent_traps(self, here: "_Here") -> tuple[Array, Array]:
        every = [*self._recent, here.uncounted(np.zeros(len(self._who), bool))]
        return np.concatenate([each[0] for each in every]), np.concatenate([each[1] for each in every])


class _Here:
    """The guest traps of one slice, by thread: their starts, and begin and length of each thread's."""

    def __init__(self, traps: Selected, who: Array) -> None:
        known = who >= 0
        self.starts = traps["start_ns"]
        self.who = who[known]
        self.begin = traps.heads[known]
        self.lengths = traps.lengths[known]

    def stretch(self, who: Array) -> tuple[Array, Array]:
        """Where the traps of each of these threads begin and end."""
        most = max(int(who.max(initial=0)), int(self.who.max(initial=0)))
        begin, length = np.zeros(most + 1, np.int64), np.zeros(most + 1, np.int64)
        begin[self.who], length[self.who] = self.begin, self.lengths
        return begin[who], begin[who] + length[who]

    def uncounted(self, counted: Bools) -> tuple[Array, Array]:
        """Thread and start of each trap of the threads for which it does not hold."""
        chosen = ~counted[self.who]
        lengths = self.lengths[chosen]
        offset = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(self.who[chosen], lengths), self.starts[
            np.repeat(self.begin[chosen], lengths) + offset
        ]


def _merge(seen: Array, new: Array) -> None:
    some, none = new["count"] > 0, seen["count"] == 0
    other = ~none & (new["rip"] != seen["rip"])
    seen["mixed"] |= some & (new["mixed"] | other)
    seen["rip"] = np.where(some & none, new["rip"], seen["rip"])
    seen["count"] += new["count"]


def _one(there: Bools, rips: Array) -> Array:
    found = np.zeros(len(there), _SEEN)
    found["count"], found["rip"] = there, rips
    return found


def _address(seen: np.void) -> int | None:
    return int(seen["rip"]) if seen["count"] and not seen["mixed"] else None


def by_ac(records: Columns | Records) -> Bools:
    """For each record of exits, or of counters: is it by #AC? See host.exits.is_split_lock."""
    isas = schema.current().enums["isa"].values
    names = records.dtype.names or ()
    vector = records["vector"] if "vector" in names else records["intr_info"] & np.uint32(0xFF)
    intel = (records["isa"] == isas["VMX"]) & (records["reason"] == VMX_EXCEPTION) & (vector == AC_VECTOR)
    found: Bools = intel | ((records["isa"] == isas["SVM"]) & (records["reason"] == SVM_AC))
    return found
