"""Windows without detection, against a plain walk over each core's events, however the records are cut."""

from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sldtrace.engine import windows
from sldtrace.engine.columns import none
from sldtrace.engine.fold import Batch
from sldtrace.engine.slices import Slicer
from sldtrace.engine.traps import Tracker
from sldtrace.engine.windows import OPEN, TRAPPED, WRITTEN, WindowSums, WindowTracker
from sldtrace.host.msr import DETECT
from tests.analyzers.synthetic import array

CPUS = 4
END = 1000

Write = tuple[int, int, bool]


def core(cpu: int) -> int:
    return cpu // 2 * 2


def walk(writes: list[Write], traps: list[tuple[int, int]], stops: list[int]) -> list[tuple[int, ...]]:
    """Core, start, last, writes, end and how it ended of each window."""
    found = []
    for each in {core(cpu) for _, cpu, _ in writes}:
        events = [(ns, TRAPPED, False) for ns, cpu in traps if core(cpu) == each]
        events += [(ns, WRITTEN, not on) for ns, cpu, on in writes if core(cpu) == each]
        events += [(ns, OPEN, False) for ns in stops]
        opened: list[int] = []
        for ns, what, off in sorted(events):
            if off:
                opened.append(ns)
            elif opened:
                found.append((each, opened[0], opened[-1], len(opened), ns, what))
                opened = []
    return sorted(found)


cpus = st.integers(0, CPUS - 1)
moments = st.integers(1, END - 1)
writes_ = st.lists(st.tuples(moments, cpus, st.booleans()), max_size=20, unique_by=lambda each: each[0])
traps_ = st.lists(st.tuples(moments, cpus), max_size=12)


def run(
    writes: list[Write], traps: list[tuple[int, int]], cuts: list[int], add: Any, tracker: Tracker
) -> None:
    slicer = Slicer()
    slicer.add(
        "detection", array("detection", [{"ns": n, "cpu": c, "value": on * DETECT} for n, c, on in writes])
    )
    slicer.add(
        "trap",
        array(
            "trap",
            [{"start_ns": n, "end_ns": n, "start_cpu": c, "tid": i + 1} for i, (n, c) in enumerate(traps)],
        ),
    )
    for cut in [*sorted(cuts), None]:
        found = slicer.take(cut)
        add(Batch(found, tracker.traps(found.get("trap") or none("trap")), tracker.threads))


@settings(deadline=None, max_examples=150)
@given(writes_, traps_, st.lists(moments, max_size=5), st.lists(moments, max_size=2, unique=True))
@example([(1, 0, False), (2, 0, False)], [(2, 0)], [], [])  # its own window ends when it begins
def test_windows_are_those_of_a_plain_walk(
    writes: list[Write], traps: list[tuple[int, int]], cuts: list[int], stops: list[int]
) -> None:
    stops = [*sorted(stops), END]
    tracker, found = WindowTracker(core, stops), list[np.ndarray]()
    run(writes, traps, cuts, lambda batch: found.append(tracker.update(batch)), Tracker())
    every = np.concatenate([*found, tracker.finish()])
    names = ["core", "start_ns", "last_ns", "writes", "end_ns", "ended"]
    expected = walk(writes, traps, stops)
    assert sorted(zip(*(every[name].tolist() for name in names), strict=True)) == expected
    for row in every:
        others = [each for each in expected if each[0] != row["core"]]
        assert row["refused"] == any(start <= row["last_ns"] <= end for _, start, _, _, end, _ in others)


@settings(deadline=None, max_examples=100)
@given(
    writes_, traps_, st.lists(moments, max_size=5), st.lists(st.tuples(cpus, moments, moments), max_size=6)
)
def test_a_stay_overlaps_a_window_or_not(
    writes: list[Write],
    traps: list[tuple[int, int]],
    cuts: list[int],
    stays: list[tuple[int, int, int]],
) -> None:
    stays = [(core(cpu), min(one, other), max(one, other)) for cpu, one, other in stays]
    tracker, found, edges = WindowTracker(core, [END]), dict[int, bool](), iter([*sorted(cuts), END])
    since = 0

    def add(batch: Batch) -> None:
        nonlocal since
        tracker.update(batch)
        until = next(edges)
        for index, (where, begin, end) in enumerate(stays):
            if since < end <= until:
                found[index] = bool(tracker.overlapping(*(np.array([n]) for n in (where, begin, end)))[0])
        since = until

    run(writes, traps, cuts, add, Tracker())
    expected = walk(writes, traps, [END])
    for index, (where, begin, end) in enumerate(stays):
        mine = [each for each in expected if each[0] == where and each[1] < end]
        assert found[index] == (bool(mine) and max(mine)[4] > begin)


@settings(deadline=None, max_examples=60)
@given(writes_, traps_, st.lists(moments, max_size=5))
def test_sums_are_those_of_the_windows(
    writes: list[Write], traps: list[tuple[int, int]], cuts: list[int]
) -> None:
    tick = 8  # too long: more than 400; too short: less than 8
    sums = WindowSums(tick, core, [END])
    run(writes, traps, cuts, sums.update, Tracker())
    sums.finish()
    expected = walk(writes, traps, [END])
    found = dict(sums.cores())
    assert list(found) == sorted({each[0] for each in expected})
    for where, row in found.items():
        mine = [each for each in expected if each[0] == where]
        long = [each for each in mine if each[4] - each[2] > windows.LEFT_OFF_JIFFIES * tick]
        short = [each for each in mine if each[5] == WRITTEN and each[4] - each[2] < tick]
        counts = [int(row[name]) for name in ("windows", "long", "short")]
        assert counts == [len(mine), len(long), len(short)]
        assert row["long_ns"] == sum(each[4] - each[2] for each in long)
        if short:
            assert [int(row["short_start_ns"]), int(row["short_end_ns"])] == [short[0][1], short[-1][4]]
            assert sums.short_median_ns(where) == int(np.median([each[4] - each[2] for each in short]))
