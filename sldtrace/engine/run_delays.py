"""How long threads ran, waited for a CPU, and were throttled, as far as that was sampled."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sldtrace.engine.columns import Columns
from sldtrace.engine.fold import Batch
from sldtrace.engine.keys import Keys, joined
from sldtrace.engine.tables import Array, Table

MOST_THREADS = 1 << 17
"""The most threads that are kept."""

_FIELDS = ("sampled_ns", "run_ns", "run_delay_ns", "throttled_ns")


@dataclass(frozen=True)
class RunDelay:
    """Sums of one thread, in ns: see struct sld_schedstat.

    sampled_ns: the time that they are of; throttled_ns: of run_delay_ns, at most.
    """

    sampled_ns: int
    run_ns: int
    run_delay_ns: int
    throttled_ns: int


class RunDelaySums:
    """Of each thread the sums of its `schedstat` records. left_out: records of threads above MOST_THREADS."""

    kinds: ClassVar[frozenset[str]] = frozenset({"schedstat"})

    def __init__(self, most: int = MOST_THREADS) -> None:
        self._keys = Keys(most)
        self._sums = Table([(name, "i8") for name in _FIELDS])

    @property
    def left_out(self) -> int:
        """Records that are in no sum."""
        return self._keys.left_out

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        records = batch.records("schedstat")
        if len(records):
            self.add(self._keys.numbers(joined(records["tgid"], records["tid"])), records)

    def add(self, number: Array, records: Columns) -> None:
        """Adds records to the sums with these numbers; -1: to none."""
        records, number = records[number >= 0], number[number >= 0]
        if not len(records):
            return
        sums = self._sums.upto(int(number.max()) + 1)
        # A damaged file may hold anything. The cgroup is throttled on each CPU by itself, and also while the
        # thread sleeps.
        sampled = np.maximum(_signed(records, "ns") - _signed(records, "since_ns"), 0)
        delay = np.clip(_signed(records, "run_delay_ns"), 0, sampled)
        for name, values in (
            ("sampled_ns", sampled),
            ("run_ns", np.clip(_signed(records, "run_ns"), 0, sampled)),
            ("run_delay_ns", delay),
            ("throttled_ns", np.clip(_signed(records, "throttled_ns"), 0, delay)),
        ):
            np.add.at(sums[name], number, values)

    def of_thread(self, tgid: int, tid: int) -> RunDelay | None:
        """The sums of one thread; None: it was not sampled."""
        (number,) = self._keys.look_up(joined(np.array([tgid]), np.array([tid])))
        return self.of_number(int(number)) if number >= 0 else None

    def of_number(self, number: int) -> RunDelay | None:
        """The sums with this number; None: nothing was added to them."""
        row = self._sums.upto(number + 1)[number]
        return RunDelay(*(int(row[name]) for name in _FIELDS)) if row["sampled_ns"] > 0 else None


def within(records: Columns, start_ns: Array, end_ns: Array) -> Array:
    """Is more than half of the time of each record between these two?"""
    since, until = _signed(records, "since_ns"), _signed(records, "ns")
    inside = np.minimum(until, end_ns) - np.maximum(since, start_ns)
    found: Array = 2 * inside > until - since
    return found


def _signed(records: Columns, name: str) -> Array:
    found: Array = records[name].astype(np.int64)
    return found
