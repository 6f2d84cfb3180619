"""Samples how long threads that trap ran and waited for a CPU, as `schedstat` records."""

import time
from collections.abc import Callable

import numpy as np

from sldtrace.host import schedstat
from sldtrace.host.schedstat import RunTimes
from sldtrace.recording import schema
from sldtrace.recording.layout import Records

_MOST = 256  # threads that are read at a time; reading one takes some 50 us
_MOST_KNOWN = 4096

Read = Callable[[int, int, dict[str, int]], RunTimes | None]


class RunDelays:
    """Reads each thread when it is new, and then about once a second while it traps."""

    def __init__(self, read: Read = schedstat.read) -> None:
        self._read = read
        self._before: dict[tuple[int, int], tuple[int, RunTimes]] = {}
        self._trapped: dict[tuple[int, int], None] = {}

    def started(self, tasks: Records) -> None:
        """Takes the task records of new threads."""
        known: dict[str, int] = {}
        for thread in _threads(tasks)[:_MOST]:
            self._sample(thread, known)

    def trapped(self, traps: Records) -> None:
        """Takes new trap records."""
        self._trapped |= dict.fromkeys(_threads(traps))

    def update(self) -> Records:
        """Records of the threads that trapped since the last call, from their last sample on."""
        known: dict[str, int] = {}
        threads = list(self._trapped)[:_MOST]
        self._trapped.clear()
        rows = [row for thread in threads if (row := self._sample(thread, known)) is not None]
        records = np.zeros(len(rows), schema.current().records["schedstat"].dtype)
        for record, row in zip(records, rows, strict=True):
            for name, value in row.items():
                record[name] = value
        return records

    # The record from the thread's last sample to now; None without one.
    def _sample(self, thread: tuple[int, int], known: dict[str, int]) -> dict[str, int] | None:
        now, found = time.monotonic_ns(), self._read(*thread, known)
        before = self._before.pop(thread, None)
        if found is None:
            return None
        if len(self._before) >= _MOST_KNOWN:
            del self._before[next(iter(self._before))]
        self._before[thread] = now, found
        # A thread that ran for less than before is another one, with the TID of one that has ended.
        if before is None or found.run_ns < before[1].run_ns:
            return None
        since, old = before
        return {
            "ns": now,
            "since_ns": since,
            "run_ns": found.run_ns - old.run_ns,
            "run_delay_ns": max(found.delay_ns - old.delay_ns, 0),
            # Smaller where the thread was moved to another cgroup.
            "throttled_ns": max(found.throttled_ns - old.throttled_ns, 0),
            "tgid": thread[0],
            "tid": thread[1],
        }


def _threads(records: Records) -> list[tuple[int, int]]:
    return list(dict.fromkeys(zip(records["tgid"].tolist(), records["tid"].tolist(), strict=True)))
