"""What threads did over time, in a fixed number of columns of equal length: the data of pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from sldtrace.engine.columns import Columns
from sldtrace.engine.fold import Batch
from sldtrace.engine.tables import Array, Table
from sldtrace.engine.traps import Traps
from sldtrace.engine.windows import WindowTracker
from sldtrace.model.early_returns import Bools, Times
from sldtrace.recording.layout import Records

Values = npt.NDArray[np.float64]

SLEEP, SEMAPHORE, GUEST, OUTSIDE = "sleep", "semaphore", "guest", "outside"
STATES = (SLEEP, SEMAPHORE, GUEST, OUTSIDE)
"""What a thread does: in the penalty's sleep, in the wait for the semaphore, in guest mode, or anything else
between its first trap and its last one, in the kernel and in the VMM. The last two are known only for the
times between two traps in which VM exits were watched."""

FIRST_TRAPS = 48
"""Traps of each thread that are kept one by one."""

MOST_CORES = 32
"""Cores whose windows are kept: those with the first windows."""

SLEEP_PARTS = 8
"""TimeGrid of the histogram of sleeps in a jiffy."""


class TimeGrid:
    """A span of time in columns.

    start_ns: of the first one (CLOCK_MONOTONIC); width_ns: of each; count: how many. They cover the span.
    """

    def __init__(self, start_ns: int, end_ns: int, count: int) -> None:
        self.start_ns = start_ns
        self.count = count
        self.width_ns = max(1, -(-(end_ns - start_ns) // count))

    def of(self, times: Times) -> Times:
        """The column of each time; times outside are in the first or the last one."""
        return np.clip((times - self.start_ns) // self.width_ns, 0, self.count - 1)

    def spread(
        self, into: Values, row: Array, start: Times, end: Times, weight: Values | None = None
    ) -> None:
        """Adds the time in ns of each of these spans, times its weight, to the columns that it lies in.

        into: rows of columns; row: of each span. What lies outside is left out.
        """
        last_ns = self.width_ns * self.count
        start, end = (np.clip(each - self.start_ns, 0, last_ns) for each in (start, end))
        some = end > start
        row, start, end = row[some].astype(np.int64), start[some], end[some]
        if not len(row):
            return
        weight = np.ones(len(row)) if weight is None else weight[some]
        first, last = start // self.width_ns, (end - 1) // self.width_ns
        low, high = int(first.min()), int(last.max()) + 1
        shape = len(into), high - low
        head, tail = row * shape[1] + first - low, row * shape[1] + last - low
        size = shape[0] * shape[1]
        one = first == last
        found = np.bincount(
            head, np.where(one, end - start, (first + 1) * self.width_ns - start) * weight, minlength=size
        )
        if not one.all():
            found += np.bincount(tail, np.where(one, 0, end - last * self.width_ns) * weight, minlength=size)
            # Those between are full: the sum of what began before and has not ended.
            begun = np.bincount(head[~one], weight[~one], minlength=size)
            ended = np.bincount(tail[~one], weight[~one], minlength=size)
            full = np.cumsum((begun - ended).reshape(shape), axis=1)
            full -= begun.reshape(shape)
            found += np.maximum(full, 0).reshape(-1) * self.width_ns
        into[:, low:high] += found.reshape(shape)

    def count_at(self, into: Times, row: Array, times: Times) -> None:
        """Adds one for each of these times to its column."""
        if not len(times):
            return
        at = self.of(times)
        low, high = int(at.min()), int(at.max()) + 1
        flat = row.astype(np.int64) * (high - low) + at - low
        found = np.bincount(flat, minlength=len(into) * (high - low))
        into[:, low:high] += found.reshape(len(into), high - low)


class TimeColumns:
    """The time of some threads by what they did, and the numbers of all traps, over time.

    threads: TGID and TID of each; since: from when on the first traps of each are kept (ns); columns: the
    times; tick_ns: of a jiffy; core, stops: see windows.WindowTracker.

    states: by name the ns in each column, a row a thread; early_returns, signals, cpu: the same as counts,
    and as the CPU of the last trap (-1: none). traps: of all threads, by how they ended, in each column.
    sleeps: of all threads, the number of sleeps by their length in parts of a jiffy: a row for those that a
    signal ended, one for those that completed; longer ones are in the last column. windows: by core the ns in
    each column in which detection was off.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap", "signal", "detection"})

    def __init__(
        self,
        threads: Sequence[tuple[int, int]],
        since: Sequence[int],
        columns: TimeGrid,
        tick_ns: int,
        core: Callable[[int], int],
        stops: Sequence[int],
        jiffies: int = 8,
    ) -> None:
        self.columns = columns
        self._threads = threads
        self._since = since
        shape = len(threads), columns.count
        self.states: Mapping[str, Values] = {name: np.zeros(shape) for name in STATES}
        self.early_returns: Times = np.zeros(shape, np.int64)
        self.signals: Times = np.zeros(shape, np.int64)
        self.cpu: Times = np.full(shape, -1, np.int64)
        self.traps: Mapping[str, Times] = {
            name: np.zeros((1, columns.count), np.int64)
            for name in ("early returns", "completed", "not penalized")
        }
        self.sleeps: Times = np.zeros((2, jiffies * SLEEP_PARTS), np.int64)
        self.part_ns = tick_ns // SLEEP_PARTS
        self.windows: dict[int, Values] = {}
        self._first: list[list[Records]] = [[] for _ in threads]
        self._kept = np.zeros(len(threads), np.int64)
        self._tids = {tid: row for row, (_, tid) in reversed(list(enumerate(threads)))}
        self._processes: dict[int, list[int]] = {}
        for row, (tgid, _) in enumerate(threads):
            self._processes.setdefault(tgid, []).append(row)
        self._rows = Table([("row", "i4")])  # by number of a thread: its row plus one
        self._known = 0
        self._tracker = WindowTracker(core, stops)

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        rows = self._rows_of(batch)
        if len(batch.traps):
            self._count(batch.traps)
            self._add(batch.traps, rows[batch.traps.thread])
        self._add_signals(batch.records("signal"))
        self._add_windows(self._tracker.update(batch))

    def finish(self) -> None:
        """Ends the windows that are open."""
        self._add_windows(self._tracker.finish())

    def first(self, row: int) -> Records | None:
        """The first traps of a thread, at most FIRST_TRAPS, by time; None: there are none."""
        parts = self._first[row]
        return np.concatenate(parts) if parts else None

    # The row of each thread, by number; -1: it is none of them.
    def _rows_of(self, batch: Batch) -> Array:
        known, self._known = self._known, len(batch.threads)
        rows = self._rows.upto(self._known)["row"]
        if known < self._known:
            for row, (tgid, tid) in enumerate(self._threads):
                number = batch.threads.look_up(tgid, tid)
                if number is not None:
                    rows[number] = row + 1
        found: Array = rows - 1
        return found

    def _count(self, traps: Traps) -> None:
        whole = traps.flag("HANDLED") & ~traps.early & ~traps.flag("RETURN_MISSED")
        slept = traps.flag("SLEPT")
        for name, holds in (
            ("early returns", traps.early),
            ("completed", whole & slept),
            ("not penalized", whole & ~slept),
        ):
            times = traps["start_ns"][holds]
            self.columns.count_at(self.traps[name], np.zeros(len(times), np.int64), times)
        ended = slept & ~traps.flag("RETURN_MISSED")
        left = traps["sleep_left_ms"] > 0
        parts = np.minimum(traps["sleep_ns"] // max(self.part_ns, 1), self.sleeps.shape[1] - 1)
        for row, holds in enumerate((ended & left, ended & ~left)):
            self.sleeps[row] += np.bincount(parts[holds], minlength=self.sleeps.shape[1])

    def _add(self, traps: Traps, row: Array) -> None:
        mine = np.flatnonzero(row >= 0)
        if not len(mine):
            return
        row = row[mine]
        start, end, sleep, wait = (
            traps[name][mine] for name in ("start_ns", "end_ns", "sleep_ns", "semaphore_ns")
        )
        spread = self.columns.spread
        spread(self.states[SLEEP], row, start, start + sleep)
        spread(self.states[SEMAPHORE], row, start + sleep, start + sleep + wait)
        spread(self.states[OUTSIDE], row, start + sleep + wait, end)
        self._add_between(traps, mine, row, start)
        self.columns.count_at(self.early_returns, row[traps.early[mine]], start[traps.early[mine]])
        # The last trap in a column is the last one that is assigned.
        self.cpu[row, self.columns.of(start)] = traps["start_cpu"][mine]
        for each in np.flatnonzero(self._kept < FIRST_TRAPS).tolist():
            found = mine[(row == each) & (start >= self._since[each])][: FIRST_TRAPS - int(self._kept[each])]
            if len(found):
                self._first[each].append(traps.records(found).copy())
                self._kept[each] += len(found)

    # From the trap before to this one.
    def _add_between(self, traps: Traps, mine: Array, row: Array, start: Times) -> None:
        known: Bools = (traps.flag("EXITS_WATCHED") & traps.has_previous)[mine]
        since = traps.previous("end_ns")[mine]
        between = np.maximum(start - since, 1)
        share = np.clip(traps["guest_ns"][mine] / between, 0, 1) * known
        self.columns.spread(self.states[GUEST], row, since, start, share)
        self.columns.spread(self.states[OUTSIDE], row, since, start, known - share)

    def _add_signals(self, signals: Columns) -> None:
        if not len(signals) or not self._threads:
            return
        times = signals["ns"].astype(np.int64)
        for tid in np.unique(signals["tid"]).tolist():
            mine = signals["tid"] == tid
            if tid:
                self._signals_of(self._tids.get(tid), times[mine])
                continue
            for tgid in np.unique(signals["tgid"][mine]).tolist():
                of_process = times[mine & (signals["tgid"] == tgid)]
                for row in self._processes.get(tgid, ()):
                    self._signals_of(row, of_process)

    def _signals_of(self, row: int | None, times: Times) -> None:
        if row is not None:
            self.columns.count_at(self.signals[row : row + 1], np.zeros(len(times), np.int64), times)

    def _add_windows(self, found: Array) -> None:
        for core in np.unique(found["core"]).tolist():
            if core not in self.windows and len(self.windows) < MOST_CORES:
                self.windows[core] = np.zeros((1, self.columns.count))
            if core in self.windows:
                mine = found[found["core"] == core]
                zeros = np.zeros(len(mine), np.int64)
                self.columns.spread(self.windows[core], zeros, mine["start_ns"], mine["end_ns"])
