"""Programs that come and go for as long as the recorder runs: what it keeps of them has an end."""

import tracemalloc
from collections.abc import Callable

import numpy as np

from sldtrace.capture.live.detector import MAX_THREADS, Detector
from sldtrace.capture.run_delays import RunDelays
from sldtrace.host.schedstat import RunTimes
from sldtrace.model import penalty
from sldtrace.recording import schema
from sldtrace.recording.tasks import KnownTasks

LARGE = 20
"""Bytes for each process of the second half: an entry of a dictionary takes 100."""


def records(kind: str, tids: np.ndarray, ns: np.ndarray) -> np.ndarray:
    """One record of each of these threads, each of a process of its own."""
    found = np.zeros(len(tids), schema.current().records[kind].dtype)
    found["tid"] = found["tgid"] = tids
    found[found.dtype.names[0]] = ns  # type: ignore[index]
    if kind == "trap":
        found["end_ns"] = ns + 10_000_000
        found["flags"] = schema.current().enums["trap_flags"].values["HANDLED"]
    return found


def check(
    take: Callable[[np.ndarray, np.ndarray], None], processes: int, batch: int, large: int = LARGE
) -> int:
    """The most memory in the second half of the processes is little more than in the first; that in bytes."""
    most = [0, 0]
    tracemalloc.start()
    try:
        for first in range(0, processes, batch):
            tids = np.arange(first + 1, first + 1 + batch)
            take(tids, tids.astype(np.uint64) * 100_000)
            half = int(first >= processes // 2)
            most[half] = max(most[half], tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert 0 < most[1] < most[0] + large * processes // 2
    return most[1]


def test_tasks_of_many_processes() -> None:
    tasks = KnownTasks(schema.current().records["task"])
    check(lambda tids, ns: tasks.update(records("task", tids, ns), 1), 100_000, 4000)
    assert tasks.dropped == 100_000 - len(tasks)


def test_run_times_of_many_processes() -> None:
    delays = RunDelays(lambda tgid, tid, known: RunTimes(1, 1, 1))

    def take(tids: np.ndarray, ns: np.ndarray) -> None:
        delays.started(records("task", tids, ns))
        delays.trapped(records("trap", tids, ns))
        delays.update()

    check(take, 20_000, 200)


def test_loops_of_many_processes() -> None:
    detector = Detector(penalty.for_kernel("6.12", 4_000_000), {})

    def take(tids: np.ndarray, ns: np.ndarray) -> None:
        detector.add("trap", records("trap", tids, ns))
        detector.advance(int(ns[-1]) + 2_000_000_000)

    check(take, 100_000, 4000)


def test_livelocks_of_many_processes_take_at_most_what_the_documentation_says() -> None:
    """docs/recording.md; after MAX_THREADS threads nothing more."""
    detector = Detector(penalty.for_kernel("6.12", 4_000_000), {})
    flags = schema.current().enums["trap_flags"].values
    found: list[int] = []

    def take(tids: np.ndarray, ns: np.ndarray) -> None:
        for trap in range(4):
            traps = records("trap", tids, ns[0] + np.uint64(trap * 10_000_000))
            traps["flags"] |= flags["WARNED"] | flags["SLEPT"]
            traps["sleep_left_ms"], traps["rip"] = 8, 0x4018
            traps["end_ns"] = traps["start_ns"] + np.uint64(5_000_000)
            detector.add("trap", traps)
        found.append(len(detector.advance(int(ns[0]) + 2_000_000_000)))

    # A number for each TID, and the records of a second, which are more or fewer.
    most = check(take, 4 * MAX_THREADS, 512, large=2 * LARGE)
    assert sum(found) > MAX_THREADS
    assert most < 32 << 20
