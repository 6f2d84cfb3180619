"""The signals that came to the threads of loops: how often each one, and the gaps between two in a row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sldtrace.engine.keys import Keys, joined
from sldtrace.engine.quantiles import Quantiles
from sldtrace.engine.tables import Array, Table

MOST_SIGNALS = 1 << 16
"""Pairs of a loop and a signal (number, code, sender) that are counted by themselves; others are not."""

SIGNAL = ("signal", "signal_code", "sender_tgid", "sender_tid")
"""Fields of traps and of signals; whether it was sent to the process comes last."""

Key = tuple[int, int, int, int, bool]
"""Number, si_code, TGID and TID of the sender; sent to the process? Without signal: an Ending, zeros."""

_COUNTS = np.dtype([("ended", "i8"), ("first_ns", "i8"), ("records", "i8"), ("last_ns", "i8")])


@dataclass(frozen=True)
class Signalled:
    """How often one signal came to one thread, in the traps and in the records of signals.

    ended: traps that it ended; first_ns: start of the first of them; records: of it.
    """

    number: int
    ended: int
    first_ns: int
    records: int


class Signals:
    """Counts signals. A loop and a signal have a number; -1: there was no room."""

    def __init__(self) -> None:
        self._whats, self._senders = Keys(MOST_SIGNALS), Keys(MOST_SIGNALS)
        self._pairs, self._numbers = Keys(MOST_SIGNALS), Keys(MOST_SIGNALS)
        self._counts = Table(_COUNTS)
        self._gaps = Quantiles()  # two series for each number: in traps, and in records

    def numbers(self, loop: Array, fields: Sequence[Array]) -> Array:
        """The number of each loop and signal. fields: those of SIGNAL, and whether it was to the process."""
        signal, code, tgid, tid, group = fields
        what = self._whats.numbers(joined(signal, code.astype(np.int64) << 1 | group))
        sender = self._senders.numbers(joined(tgid, tid))
        ok = (what >= 0) & (sender >= 0)
        found: Array = np.full(len(loop), -1, np.int64)
        pair = self._pairs.numbers(joined(what[ok], sender[ok]))
        ok[ok] = pair >= 0
        known = len(self._numbers)
        found[ok] = self._numbers.numbers(joined(loop[ok], pair[pair >= 0]))
        new = self._counts.upto(len(self._numbers))[known:]
        new["first_ns"], new["last_ns"] = np.iinfo(np.int64).max, -1
        return found

    def add_ended(self, number: Array, count: Array, first_ns: Array) -> None:
        """Adds traps that these signals ended; first_ns: start of the first of each."""
        known = number >= 0
        counts = self._counts.upto(len(self._numbers))
        np.add.at(counts["ended"], number[known], count[known])
        np.minimum.at(counts["first_ns"], number[known], first_ns[known])

    def add_sent(self, number: Array, ns: Array) -> None:
        """Adds records of these signals; those of each number in order of time."""
        order = np.argsort(number, kind="stable")
        order = order[np.searchsorted(number[order], 0) :]
        if not len(order):
            return
        number, ns = number[order], ns[order]
        counts = self._counts.upto(len(self._numbers))
        heads = np.flatnonzero(np.append(True, number[1:] != number[:-1]))
        lengths = np.diff(heads, append=len(number))
        who = number[heads]
        before = np.append(0, ns[:-1])
        before[heads] = counts["last_ns"][who]
        follows = before >= 0
        counts["records"][who] += lengths
        counts["last_ns"][who] = ns[heads + lengths - 1]
        self.add_gaps(number[follows], None, (ns - before)[follows], sent=True)

    def add_gaps(self, number: Array, lengths: Array | None, gaps: Array, sent: bool) -> None:
        """Adds the times from one signal to the next one. lengths: how many of each number; None: one."""
        series = 2 * number + sent
        series = series if lengths is None else np.repeat(series, lengths)
        known = series >= 0
        self._gaps.add(*((series, gaps) if known.all() else (series[known], gaps[known])))

    def quartiles(self, number: int) -> list[float] | None:
        """The quartiles of the gaps of that number: between records, else between traps; None: no gap."""
        for series in (2 * number + 1, 2 * number):
            if self._gaps.count(series):
                return self._gaps.of(series, [0.25, 0.5, 0.75])
        return None

    def found(self) -> Iterator[tuple[int, Key, Signalled]]:
        """Loop, signal and its counts, by number."""
        counts = self._counts.upto(len(self._numbers))
        for number, (key, row) in enumerate(zip(self._numbers.keys.tolist(), counts, strict=True)):
            pair = int(self._pairs.keys[key & 0xFFFF_FFFF])
            what, sender = int(self._whats.keys[pair >> 32]), int(self._senders.keys[pair & 0xFFFF_FFFF])
            ending, coded = np.array([what >> 32, what & 0xFFFF_FFFF], np.uint32).astype(np.int32).tolist()
            signal = ending, coded >> 1, sender >> 32, sender & 0xFFFF_FFFF, bool(coded & 1)
            counted = int(row["ended"]), int(row["first_ns"]), int(row["records"])
            yield key >> 32, signal, Signalled(number, *counted)


def ranges(starts: Array, lengths: Array) -> Array:
    """The positions from each start on, as many as its length says."""
    offsets = np.cumsum(lengths) - lengths
    found: Array = np.repeat(starts - offsets, lengths) + np.arange(int(lengths.sum()))
    return found
