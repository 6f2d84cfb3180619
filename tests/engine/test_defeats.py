"""Wasted penalties, against a plain walk over each thread's traps, however the records are cut."""

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine import defeats
from sldtrace.engine.defeats import DefeatSums
from sldtrace.engine.fold import Fold
from sldtrace.engine.slices import Slicer
from tests.analyzers.synthetic import COMPLETED, EARLY, FLAGS, MS, START_NS, TICK, array

WINDOW = 2 * TICK
UNWATCHED = COMPLETED & ~FLAGS["EXITS_WATCHED"]

Row = dict[str, Any]


def core(cpu: int) -> int:
    return cpu // 2 * 2


def home(row: Row, writes: list[Row]) -> int:
    """The core of the thread's last write in the trap, else that where the trap ended."""
    mine = [each for each in writes if each["tid"] == row["tid"] and each["ns"] <= row["end_ns"]]
    last = max(mine, key=lambda each: int(each["ns"]), default=None)
    return core(last["cpu"] if last is not None and last["ns"] >= row["start_ns"] else row["end_cpu"])


def walk(rows: list[Row], writes: list[Row]) -> dict[tuple[int, int], tuple[Any, ...]]:
    """By TID and address: completed, defeated, start, end, used, slept, shown starts, median of the gaps."""
    found: dict[tuple[int, int], tuple[Any, ...]] = {}
    for tid in {row["tid"] for row in rows}:
        mine = [row for row in rows if row["tid"] == tid]
        for rip in {row["rip"] for row in mine}:
            done = [row for row in mine if row["rip"] == rip and row["flags"] & FLAGS["MSR_CLEARED"]]
            lost = [
                (one, other)
                for one, other in pairwise(mine)
                if one in done
                and other["rip"] == rip
                and core(other["start_cpu"]) != home(one, writes)
                and other["start_ns"] - one["end_ns"] < WINDOW
            ]
            if len(lost) < defeats.PENALTIES or len(lost) < defeats.SHARE * len(done):
                continue
            starts = [one["start_ns"] for one, _ in lost]
            used = [other["guest_ns"] for _, other in lost if other["flags"] & FLAGS["EXITS_WATCHED"]]
            found[tid, rip] = (
                len(done),
                len(lost),
                done[0]["start_ns"],
                lost[-1][1]["start_ns"],
                sum(used) if used else None,
                sum(one["sleep_ns"] for one, _ in lost),
                tuple(sorted({*starts[:4], *starts[-3:]})),
                int(np.median([other["start_ns"] - one["end_ns"] for one, other in lost])),
            )
    return found


trap = st.fixed_dictionaries(
    {
        "tid": st.sampled_from([301, 302]),
        "rip": st.sampled_from([0x4000] * 5 + [0xFFFF_FFFF_8100_0C0F]),
        "start_cpu": st.integers(0, 3),
        "end_cpu": st.integers(0, 3),
        "flags": st.sampled_from([COMPLETED] * 6 + [UNWATCHED, EARLY]),
        "gap": st.sampled_from([1, MS, WINDOW - 1, WINDOW]),
        "write": st.sampled_from([None, None, 0, 1, 2, 3]),
    }
)


@settings(deadline=None, max_examples=150)
@given(st.lists(trap, max_size=40), st.lists(st.integers(0, 400), max_size=6))
def test_wasted_penalties_are_those_of_a_plain_walk(given_: list[Row], cuts: list[int]) -> None:
    rows, writes, now = list[Row](), list[Row](), dict[int, int]()
    for each in given_:
        start = now.get(each["tid"], START_NS) + each["gap"]
        end = now[each["tid"]] = start + 5 * MS
        fields = {name: each[name] for name in ("tid", "rip", "start_cpu", "end_cpu", "flags")}
        rows.append(fields | {"start_ns": start, "end_ns": end, "sleep_ns": 4 * MS, "guest_ns": 7, "tgid": 9})
        if each["write"] is not None:
            writes.append({"ns": end - 2, "cpu": each["write"], "tid": each["tid"], "value": 0})
    rows.sort(key=lambda row: int(row["start_ns"]))
    collected = DefeatSums(TICK, core, (9, 301, 0x4000))
    slicer, summary = Slicer(), DefeatSums(TICK, core)
    fold = Fold([summary, collected])
    slicer.add("trap", array("trap", rows))
    slicer.add("detection", array("detection", writes))
    for cut in [*sorted(cuts), None]:
        fold.update(slicer.take(None if cut is None else START_NS + cut * MS))
    found = {
        (each.tid, each.rip): (
            each.completed,
            each.defeated,
            each.start_ns,
            each.end_ns,
            each.used_ns,
            each.slept_ns,
            each.shown,
            each.gap_median_ns,
        )
        for each in summary.found()
    }
    assert found == walk(rows, writes)
    if (301, 0x4000) in found:
        assert len(collected.collected) == found[301, 0x4000][1]
