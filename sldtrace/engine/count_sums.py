"""VM exits that were counted, summed by thread and reason."""

from typing import ClassVar

import numpy as np

from sldtrace.engine.columns import Columns
from sldtrace.engine.fold import Batch
from sldtrace.engine.keys import Keys, joined
from sldtrace.engine.tables import Array, Table
from sldtrace.recording.layout import Records

MOST_SUMS = 1 << 17
"""The most pairs of thread and reason that are kept; later ones are left out."""

_SUMS = ("count", "guest_ns", "host_ns", "host_log2")
ROW = np.dtype(
    [
        ("tgid", "u4"),
        ("tid", "u4"),
        ("vcpu", "i4"),
        ("isa", "u4"),
        ("reason", "u4"),
        ("vector", "i4"),
        ("since_ns", "i8"),
        ("ns", "i8"),
        ("count", "i8"),
        ("guest_ns", "i8"),
        ("host_ns", "i8"),
        ("host_log2", "i8", (32,)),
    ]
)


class CountSums:
    """The sums of the `counts` records of each thread and reason, by their first record.

    rows: of ROW, with fields as in the records: count, guest_ns, host_ns and host_log2 are sums, since_ns is
    the first and ns the last time, vcpu the last one. left_out: records above MOST_SUMS.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"counts"})

    def __init__(self, most: int = MOST_SUMS) -> None:
        self._threads, self._reasons, self._kinds = Keys(most), Keys(most), Keys(most)
        self._both = Keys(most)
        self._rows = Table(ROW)

    @property
    def rows(self) -> Array:
        """One row for each thread and reason."""
        return self._rows.upto(len(self._both))

    @property
    def left_out(self) -> int:
        """Records that are in no row."""
        return self._both.left_out

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        self.add(batch.records("counts"))

    def add(self, records: Records | Columns) -> None:
        """Adds records, of one thread and reason in order of time."""
        known = len(self._both)
        numbers = self._numbers(records)
        if (numbers < 0).any():
            records, numbers = records[numbers >= 0], numbers[numbers >= 0]
        if not len(records):
            return
        rows = self.rows
        order = np.argsort(numbers, kind="stable")
        records, numbers = records[order], numbers[order]
        heads = np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]]))
        mine = rows[numbers[heads]]
        new = numbers[heads] >= known
        for name in ("tgid", "tid", "isa", "reason", "vector"):
            mine[name] = records[name][heads]
        mine["vcpu"] = records["vcpu"][np.append(heads[1:], len(records)) - 1]
        since, until = (records[name].astype(np.int64) for name in ("since_ns", "ns"))
        first = np.minimum.reduceat(since, heads)
        mine["since_ns"] = np.where(new, first, np.minimum(mine["since_ns"], first))
        mine["ns"] = np.maximum(mine["ns"], np.maximum.reduceat(until, heads))
        for name in _SUMS:
            mine[name] += np.add.reduceat(records[name], heads, axis=0, dtype=np.int64)
        rows[numbers[heads]] = mine

    def _numbers(self, records: Records | Columns) -> Array:
        thread = self._threads.numbers(joined(records["tgid"], records["tid"]))
        reason = self._reasons.numbers(joined(records["reason"], records["vector"].view(np.uint32)))
        kind = self._kinds.numbers(joined(records["isa"], reason))
        ok = (thread >= 0) & (reason >= 0) & (kind >= 0)
        found = np.full(len(records), -1, np.int64)
        found[ok] = self._both.numbers(joined(thread[ok], kind[ok]))
        self._both.left_out += int(np.count_nonzero(~ok))
        return found
