"""Plays a recording as if it happened now: its records come to the detector in order of time."""

import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from sldtrace.capture.live.detector import Detector
from sldtrace.dataset.trace import Trace
from sldtrace.engine.slices import slices
from sldtrace.host.vms.names import KEYS, matches_vm
from sldtrace.model import penalty
from sldtrace.recording.layout import Records
from sldtrace.top.viewer import Viewer

_STARTED = {"trap": "start_ns", "detection": "ns", "bus_lock": "ns", "counts": "ns"}
_ARRIVED = {**_STARTED, "trap": "end_ns"}
_KINDS = frozenset(_STARTED)
_NEVER = (1 << 63) - 1
_CPUS = 8192  # CONFIG_NR_CPUS of the distributions; cores of others are taken for single CPUs
_STEP_NS = 200_000_000  # as the recorder reads its rings
LONGEST_PAUSE_NS = 3_600_000_000_000
"""A time without a record that is longer is left out; damaged recordings can have one of centuries."""


def detector(trace: Trace, pause_ns: int) -> Detector:
    """One for the kernel of the recording; pause_ns: see Detector."""
    found = penalty.from_facts(trace.facts, slept=True)
    cores = {cpu: trace.core(cpu) for cpu in range(_CPUS)}
    return Detector(found, cores, longest_pause_ns=pause_ns)


def play(
    trace: Trace,
    viewer: Viewer,
    speed: float | None,
    vm: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Shows the recording from its begin to its end, or until the viewer ends it.

    speed: seconds of the recording in one of this host; None: without waiting. vm: see matches_vm.
    """
    found = detector(trace, _STEP_NS)
    describe = cache(partial(process, trace))
    lost = sum(loss.count for loss in trace.recording.losses)

    def selected(tgid: int) -> bool:
        return vm is None or matches_vm(describe(tgid), vm)

    def look(now: int, last: bool = False) -> bool:
        return viewer.look(now, trace.wall_ns(now), found, describe, lost, None, selected, last)

    begin, end = trace.span_ns
    source, now = _Arrivals(trace), begin
    while True:
        now += _STEP_NS
        following = min(source.next_ns, end)
        if following - now > LONGEST_PAUSE_NS:
            now = following
        for kind, records in source.until(now):
            found.add(kind, records)
        found.advance(now)
        if now >= end:
            break
        if look(now):
            return
        if speed is not None:
            sleep(_STEP_NS / 1e9 / speed)
    found.finish()
    if not look(end, last=True):
        viewer.stay()


def process(trace: Trace, tgid: int) -> dict[str, Any]:
    """What the recording has of host.vms.process.describe: comm and the names of the VM."""
    path = ("processes", str(tgid))
    names = {key: found for key in KEYS if (found := trace.text(*path, "vm", key))}
    vm = {**dict.fromkeys(KEYS, ""), **names} if names else None
    return {"comm": trace.subject(tgid, tgid, -1).process, "vm": vm}


class _Arrivals:
    """The records of a recording as the recorder got them: a trap when it ended."""

    def __init__(self, trace: Trace) -> None:
        self._slices = slices(trace.recording, _KINDS)
        self._waiting: list[tuple[str, Records]] = []
        self._next: tuple[int, list[tuple[str, Records]]] | None = self._read()

    @property
    def next_ns(self) -> int:
        """When the next one comes, at the earliest; a time after all others if there is none."""
        first = [int(records[_ARRIVED[kind]][0]) for kind, records in self._waiting]
        return min([*first, *([self._next[0]] if self._next else []), _NEVER])

    def until(self, now: int) -> list[tuple[str, Records]]:
        """Those that came before that, and since the last call."""
        while self._next is not None and self._next[0] < now:
            self._waiting += self._next[1]
            self._next = self._read()
        due, later = [], []
        for kind, records in self._waiting:
            count = int(np.searchsorted(records[_ARRIVED[kind]], np.uint64(now)))
            if count:
                due.append((kind, records[:count]))
            if count < len(records):
                later.append((kind, records[count:]))
        self._waiting = later
        return due

    # The next slice in order of arrival, and its first time.
    def _read(self) -> tuple[int, list[tuple[str, Records]]] | None:
        for each in self._slices:
            found, first = [], []
            for kind, columns in each.items():
                records = columns.records
                first.append(int(columns[_STARTED[kind]].min()))
                found.append((kind, records[np.argsort(records[_ARRIVED[kind]], kind="stable")]))
            return min(first), found
        return None
