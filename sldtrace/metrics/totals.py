"""Counters of each VM that only grow, from the sums of the threads, which are dropped when threads end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.capture.live.detector import Detector
from sldtrace.engine.keys import joined
from sldtrace.host.vms.names import process_label

Array = npt.NDArray[Any]
Describe = Callable[[int], Mapping[str, Any]]

COUNTED = (
    *("traps", "early_returns", "completed", "not_penalized", "fatal", "slept_ns", "waited_ns"),
    *("bus_locks", "bus_lock_ns"),
)
OTHER = "other"
"""The name of all VMs and programs beyond the most that have one of their own."""


@dataclass(frozen=True)
class Owner:
    """Whose split locks they are. name: of the VM or the program, not escaped; guest: of a VM's guest."""

    name: str
    guest: bool


@dataclass
class Counts:
    """Of one owner: COUNTED, since `created_ns` (Unix time); livelocked: its threads in a livelock now."""

    created_ns: int
    values: npt.NDArray[np.int64]
    livelocked: int = 0

    def __getitem__(self, name: str) -> int:
        return int(self.values[COUNTED.index(name)])


class Totals:
    """Adds what the threads of a detector did since the last look to their owners' counters.

    most: owners with counters of their own, the first ones that trapped or had bus locks; all others share
    those of OTHER. An owner keeps its counters when its threads end, so that they never fall.
    """

    def __init__(self, detector: Detector, most: int) -> None:
        self._detector, self._most = detector, most
        self._before: Array = detector.threads()[:0]
        self._owners: dict[tuple[int, bool], Owner] = {}
        self.counts: dict[Owner, Counts] = {}
        self.detection_off_ns = 0
        """See Detector.detection_off_ns; never falls."""

    def update(self, describe: Describe, now_ns: int) -> None:
        """describe: host.vms.process.describe of a TGID, as far as known; now_ns: Unix time."""
        self.detection_off_ns = max(self.detection_off_ns, self._detector.detection_off_ns())
        threads = self._detector.threads()
        owners = [self._owner(int(one["tgid"]), bool(one["guest"]), describe, now_ns) for one in threads]
        added = self._added(threads)
        for grown in np.flatnonzero(added.any(axis=1)).tolist():
            self.counts[owners[grown]].values += added[grown]
        self._before = threads
        for counts in self.counts.values():
            counts.livelocked = 0
        stuck = {(loop.tgid, loop.tid) for loop in self._detector.going if loop.livelock}
        for row, one in enumerate(threads):
            self.counts[owners[row]].livelocked += (int(one["tgid"]), int(one["tid"])) in stuck
        known = {(int(one["tgid"]), bool(one["guest"])) for one in threads}
        self._owners = {key: owner for key, owner in self._owners.items() if key in known}

    # An owner is found once for each process: its name may become known a little later, then it counts anew.
    def _owner(self, tgid: int, guest: bool, describe: Describe, now_ns: int) -> Owner:
        owner = self._owners.get((tgid, guest))
        if owner is None:
            described = describe(tgid)
            owner = Owner(process_label(described) or "unknown", guest)
            if owner not in self.counts and len(self.counts) >= self._most:
                owner = Owner(OTHER, guest)
            if described:
                self._owners[tgid, guest] = owner
        if owner not in self.counts:
            self.counts[owner] = Counts(now_ns, np.zeros(len(COUNTED), np.int64))
        return owner

    # What was added to the sums of each thread, shape (threads, COUNTED); of a new thread, all of them.
    def _added(self, threads: Array) -> npt.NDArray[np.int64]:
        now, before = (joined(each["tgid"], each["tid"]) for each in (threads, self._before))
        _, here, there = np.intersect1d(now, before, assume_unique=True, return_indices=True)
        # A thread of the same number whose sums are smaller is another one.
        same = np.ones(len(here), bool)
        for name in ("traps", "bus_locks"):
            same &= threads[name][here] >= self._before[name][there]
        here, there = here[same], there[same]
        added = np.stack([threads[name].astype(np.int64) for name in COUNTED], axis=1)
        added[here] -= np.stack([self._before[name][there].astype(np.int64) for name in COUNTED], axis=1)
        return added
