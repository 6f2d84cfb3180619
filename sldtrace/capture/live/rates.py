"""What each thread that traps did between two looks at a running recording: rates, and its loop."""

import numpy as np

from sldtrace.capture.live.detector import Array, Detector
from sldtrace.engine.keys import joined

_RATES = [
    ("traps_per_s", "f8"),
    ("early_returns_per_s", "f8"),
    ("detection_off_per_s", "f8"),
    ("penalty_share", "f8"),
    ("bus_locks_per_s", "f8"),
    ("loop_since_ns", "i8"),
    ("livelock", "?"),
]
_COUNTED = ("traps", "early_returns", "completed", "not_penalized", "slept_ns", "waited_ns", "bus_locks")


class Rates:
    """Rates of the threads in a detector, between the two latest times for which it evaluated all records."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._then = 0
        self._before: Array = np.zeros(0, [("tgid", "u4"), ("tid", "u4")])
        self._rows: Array = self._with_rates(detector.threads(), 0)

    def rows(self) -> Array:
        """A row for each thread that trapped or has bus locks: the fields of Detector.threads, and these.

        traps_per_s, early_returns_per_s, bus_locks_per_s; detection_off_per_s: penalties completed and traps
        without a penalty, after which the instruction executes; penalty_share: of the time, in the penalty
        (above 1 where long ones ended); loop_since_ns: start of the loop of early returns that the thread is
        in (CLOCK_MONOTONIC), 0: in none; livelock: whether that is one. All 0 at the first call.
        """
        until = self._detector.until_ns
        if until > self._then or not len(self._rows):
            threads = self._detector.threads()
            self._rows = self._with_rates(threads, until - self._then if self._then else 0)
            self._before, self._then = threads, until
        return self._rows

    def _with_rates(self, threads: Array, lasted_ns: int) -> Array:
        rows = np.zeros(len(threads), [*threads.dtype.descr, *_RATES])
        for name in threads.dtype.names or ():
            rows[name] = threads[name]
        if lasted_ns > 0 and len(rows):
            added = self._added(threads)
            per_s = 1e9 / lasted_ns
            rows["traps_per_s"] = added["traps"] * per_s
            rows["early_returns_per_s"] = added["early_returns"] * per_s
            rows["detection_off_per_s"] = (added["completed"] + added["not_penalized"]) * per_s
            rows["bus_locks_per_s"] = added["bus_locks"] * per_s
            rows["penalty_share"] = (added["slept_ns"] + added["waited_ns"]) / lasted_ns
        for loop in self._detector.going:
            mine = (rows["tgid"] == loop.tgid) & (rows["tid"] == loop.tid)
            rows["loop_since_ns"][mine] = loop.start_ns
            rows["livelock"][mine] = loop.livelock
        return rows

    # What was added to the sums of each thread; of a new thread, all of them.
    def _added(self, threads: Array) -> dict[str, Array]:
        now, before = (joined(each["tgid"], each["tid"]) for each in (threads, self._before))
        _, here, there = np.intersect1d(now, before, return_indices=True)
        added = {name: threads[name].astype(np.int64) for name in _COUNTED}
        for name, values in added.items():
            if len(here):
                values[here] -= self._before[name][there]
        return added
