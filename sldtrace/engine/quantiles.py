"""Quantiles of many series of values at once, in bounded memory.

A series is exact while it has at most EXACT values, and all series together have at most EXACT_IN_ALL. Then
it is a log-linear histogram, as HdrHistogram's: each power of two is divided into 2048 buckets, so a quantile
is off by at most RELATIVE_ERROR of its value. With more than MOST_BUCKETS used ones in all series together,
16 neighbours become one, and it is off by at most COARSE_ERROR.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sldtrace.engine.tables import Array, Table

EXACT = 4096
EXACT_IN_ALL = 1 << 18
MOST_BUCKETS = 1 << 19
RELATIVE_ERROR = 2.5e-4  # half a bucket, and what a float32 cannot hold
COARSE_ERROR = 1 / 128

_BITS = 20  # of a bucket's number: sign, exponent and eleven bits of a float32's mantissa
_NEIGHBOURS = 16
_ROOM = 1 << 16

Codes = npt.NDArray[np.int64]


def buckets(values: Array) -> Codes:
    """The number of the bucket of each value (0 to 2^63); a larger value has no smaller number."""
    found: Codes = (np.maximum(values, 0).astype(np.float32).view(np.uint32) >> np.uint32(32 - _BITS)).astype(
        np.int64
    )
    return found


def middles(numbers: Codes) -> npt.NDArray[np.float64]:
    """The value in the middle of each bucket; of that of 0, 0."""
    low = (numbers << (32 - _BITS)).astype(np.uint32).view(np.float32).astype(np.float64)
    high = ((numbers + 1) << (32 - _BITS)).astype(np.uint32).view(np.float32).astype(np.float64)
    return np.where(numbers == 0, 0.0, (low + high) / 2)


class Quantiles:
    """Series of values, each with a number from 0; values are 0 or more."""

    def __init__(self) -> None:
        self._sizes = Table(np.int64)
        self._coarse = Table(np.bool_)
        self._series = 0
        self._exact: list[tuple[Array, Array]] = []  # series, values
        self._exact_size = 0
        self._counted: list[tuple[Codes, Codes]] = []  # series and bucket, how many
        self._counted_size = 0
        self._compact_size = _ROOM
        self._sorted: tuple[Array, Array, Codes, Codes] | None = None  # see _by_series

    def add(self, series: Array, values: Array) -> None:
        """Adds each value to its series."""
        if not len(series):
            return
        self._sorted = None
        self._series = max(self._series, int(series.max()) + 1)
        sizes, coarse = self._sizes.upto(self._series), self._coarse.upto(self._series)
        sizes += np.bincount(series, minlength=self._series)
        coarse_now = coarse | (sizes > EXACT)
        if (coarse_now != coarse).any():
            coarse[:] = coarse_now
            self._turn()
        mine = coarse[series]
        if mine.all():
            self._count(series, values)
            return
        self._count(series[mine], values[mine])
        self._exact.append((series[~mine], values[~mine].astype(np.int64)))
        self._exact_size += len(self._exact[-1][0])
        if self._exact_size > EXACT_IN_ALL:
            coarse |= sizes > EXACT_IN_ALL // 2 // max(int(np.count_nonzero(sizes)), 1)
            self._turn()

    def count(self, series: int) -> int:
        """How many values a series has."""
        return int(self._sizes.upto(self._series)[series]) if series < self._series else 0

    def move(self, to: "Quantiles", series: Array) -> None:
        """Moves the values of these series to the same series of another object."""
        for chosen, values in self._take_exact(series):
            to.add(chosen, values)
        to._receive(*self._take_counted(series))

    def drop(self, series: Array) -> None:
        """Forgets these series."""
        if self._series and len(series):
            self._take_exact(series)
            self._take_counted(series)

    def merge(self, other: "Quantiles", numbers: Array) -> None:
        """Adds the values of another object: those of its series n to the series numbers[n]."""
        for series, values in other._exact:
            self.add(numbers[series], values)
        for codes, counts in other._counted:
            self._receive(
                numbers[codes >> _BITS].astype(np.int64) << _BITS | codes & (1 << _BITS) - 1, counts
            )

    def of(self, series: int, shares: Sequence[float]) -> list[float]:
        """The quantiles of one series, which has values, as numpy.quantile gives them (linear)."""
        return of_parts([(self, series)], shares)

    def values(self, series: int) -> tuple[Array, Codes]:
        """The values of one series and how often each occurs, in any order."""
        of, exact, codes, counts = self._by_series()
        mine = slice(*np.searchsorted(of, [series, series + 1]))
        counted = slice(*np.searchsorted(codes, [series << _BITS, series + 1 << _BITS]))
        return (
            np.concatenate([exact[mine], middles(codes[counted] & (1 << _BITS) - 1)]),
            np.concatenate([np.ones(mine.stop - mine.start, np.int64), counts[counted]]),
        )

    # All exact values and their series, and all counts and their codes, each sorted, so that many series are
    # read in one pass.
    def _by_series(self) -> tuple[Array, Array, Codes, Codes]:
        if self._sorted is None:
            none = np.zeros(0, np.int64)
            of, exact = (np.concatenate([none, *(each[n] for each in self._exact)]) for n in (0, 1))
            codes, counts = (np.concatenate([none, *(each[n] for each in self._counted)]) for n in (0, 1))
            order, by_code = np.argsort(of, kind="stable"), np.argsort(codes, kind="stable")
            self._sorted = of[order], exact[order], codes[by_code], counts[by_code]
        return self._sorted

    def _receive(self, codes: Codes, counts: Codes) -> None:
        if not len(codes):
            return
        self._sorted = None
        series = codes >> _BITS
        self._series = max(self._series, int(series.max()) + 1)
        sizes, coarse = self._sizes.upto(self._series), self._coarse.upto(self._series)
        np.add.at(sizes, series, counts)
        coarse[series] = True
        self._turn()
        self._store(codes, counts)

    # Counts the exact values of series that are no longer exact.
    def _turn(self) -> None:
        coarse = self._coarse.upto(self._series)
        kept = []
        for series, values in self._exact:
            mine = coarse[series]
            self._count(series[mine], values[mine])
            if not mine.all():
                kept.append((series[~mine], values[~mine]))
        self._exact = kept
        self._exact_size = sum(len(series) for series, _ in kept)

    def _count(self, series: Array, values: Array) -> None:
        if not len(series):
            return
        numbers = buckets(values)
        first, low = int(series.min()), int(numbers.min())
        width = int(numbers.max()) - low + 1
        if (int(series.max()) - first + 1) * width < 4 * len(numbers):
            counts = np.bincount((series - first) * width + (numbers - low))
            found = np.flatnonzero(counts)
            self._store((found // width + first << _BITS) + found % width + low, counts[found])
        else:
            self._store(*_sum((series.astype(np.int64) << _BITS) + numbers, None))

    def _store(self, codes: Codes, counts: Codes) -> None:
        self._counted.append((codes, counts))
        self._counted_size += len(codes)
        if self._counted_size > 2 * self._compact_size:
            joined = [np.concatenate([each[n] for each in self._counted]) for n in (0, 1)]
            self._counted = [_sum(joined[0], joined[1])]
            if len(self._counted[0][0]) > MOST_BUCKETS:
                codes, counts = self._counted[0]
                self._counted = [_sum(codes // _NEIGHBOURS * _NEIGHBOURS + _NEIGHBOURS // 2, counts)]
            self._counted_size = len(self._counted[0][0])
            self._compact_size = max(_ROOM, self._counted_size)

    def _chosen(self, series: Array) -> npt.NDArray[np.bool_]:
        self._sorted = None
        chosen = np.zeros(self._series, bool)
        chosen[series[series < self._series]] = True
        self._sizes.upto(self._series)[chosen] = 0
        return chosen

    def _take_exact(self, series: Array) -> list[tuple[Array, Array]]:
        chosen, taken, kept = self._chosen(series), [], []
        for of, values in self._exact:
            mine = chosen[of]
            if not mine.any():
                kept.append((of, values))
                continue
            taken.append((of[mine], values[mine]))
            if not mine.all():
                kept.append((of[~mine], values[~mine]))
        self._exact = kept
        self._exact_size = sum(len(of) for of, _ in kept)
        return taken

    def _take_counted(self, series: Array) -> tuple[Codes, Codes]:
        chosen = self._chosen(series)
        coarse = self._coarse.upto(self._series)
        none = np.zeros(0, np.int64)
        if not (chosen & coarse).any():
            return none, none
        coarse[chosen] = False
        codes, counts = (np.concatenate([each[n] for each in self._counted]) for n in (0, 1))
        mine = chosen[codes >> _BITS]
        self._counted = [(codes[~mine], counts[~mine])]
        self._counted_size = len(self._counted[0][0])
        return codes[mine], counts[mine]


def of_parts(parts: Sequence[tuple[Quantiles, int]], shares: Sequence[float]) -> list[float]:
    """The quantiles of several series, each of an object, as of one."""
    found = [of.values(series) for of, series in parts]
    values, counts = (np.concatenate([each[n] for each in found]) for n in (0, 1))
    return quantiles(values, counts, shares)


def quantiles(values: Array, counts: Array, shares: Sequence[float]) -> list[float]:
    """The quantiles of values that each occur so often, with linear interpolation as numpy.quantile."""
    order = np.argsort(values, kind="stable")
    values, upto = values[order], np.cumsum(counts[order])
    last = int(upto[-1]) - 1
    found = []
    for share in shares:
        rank = share * last
        low = int(rank)
        below, above = (
            float(values[np.searchsorted(upto, each, "right")]) for each in (low, min(low + 1, last))
        )
        # As numpy does, so that the last bit is the same.
        part, between = rank - low, above - below
        found.append(above - between * (1 - part) if part >= 0.5 else below + between * part)
    return found


def _sum(codes: Codes, counts: Codes | None) -> tuple[Codes, Codes]:
    if counts is None:
        codes = np.sort(codes)
    else:
        order = np.argsort(codes, kind="stable")
        codes, counts = codes[order], counts[order]
    begins = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    if counts is None:
        return codes[begins], np.diff(np.append(begins, len(codes)))
    return codes[begins], np.add.reduceat(counts, begins)
