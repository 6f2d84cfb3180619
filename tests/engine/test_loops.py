"""What ends a chain of early returns: a trap that completed, or detection off on the core in between."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.engine.chains import Pieces
from sldtrace.engine.columns import Columns
from sldtrace.engine.fold import Batch, Fold
from sldtrace.engine.loops import LoopSummary
from sldtrace.engine.slices import Slicer
from sldtrace.engine.traps import Tracker
from sldtrace.host.msr import DETECT
from sldtrace.model import penalty
from sldtrace.recording import schema
from tests.analyzers.shorthands import OTHER_RIP, at, find, one, subject_of
from tests.analyzers.synthetic import (
    BLIND,
    EARLY,
    FLAGS,
    GUEST,
    LONGEST,
    MS,
    RIP,
    TICK,
    VCPU,
    VMM,
    Row,
    array,
    completed,
    early,
    facts,
    interrupted,
    lasting,
    loop,
    not_penalized,
    trace,
    window,
)

MISSED = FLAGS["RETURN_MISSED"]
KERNEL = penalty.for_kernel("6.12", TICK)


def sizes(folder: Path, rows: list[Row], **rest: Any) -> list[int]:
    """How many traps each chain has, in order of their beginning."""
    made = trace(folder, rows, **rest)
    tracker, summary = Tracker(), LoopSummary(KERNEL, made.core)
    found = {kind: Columns(made.recording.records(kind)) for kind in ("trap", "detection")}
    batch = Batch(found, tracker.traps(found["trap"]), tracker.threads)
    pieces = Pieces(batch.traps, summary.stretches(summary.broken(batch), batch.traps))
    order = np.argsort(batch.traps["start_ns"][pieces.first], kind="stable")
    return [int(count) for count in pieces.count[order]]


# The thread's own traps


@pytest.mark.parametrize(
    ("trap", "chains"),
    [
        (early(20 * MS), [41]),
        (early(20 * MS, left_ms=1), [41]),
        (interrupted(20 * MS), [41]),
        (early(20 * MS, guest_ns=10 * LONGEST), [41]),
        (early(20 * MS, left_ms=0, flags=EARLY | MISSED | GUEST), [41]),
        (early(20 * MS, left_ms=0, flags=BLIND | MISSED), [20, 20]),
        (early(20 * MS, left_ms=0, flags=(EARLY | MISSED | GUEST) & ~FLAGS["WARNED"]), [20, 20]),
        (early(20 * MS, left_ms=0, flags=EARLY | MISSED | GUEST | FLAGS["MSR_CLEARED"]), [20, 20]),
        (early(20 * MS, left_ms=0), [20, 20]),
        (early(20 * MS, left_ms=0, flags=BLIND), [20, 20]),
        (not_penalized(20 * MS), [20, 20]),
        (not_penalized(20 * MS, rip=OTHER_RIP), [20, 20]),
        (early(20 * MS, left_ms=0, flags=GUEST | FLAGS["MSR_WATCHED"]), [20, 20]),
        (early(20 * MS, rip=OTHER_RIP), [40, 1]),
        (early(20 * MS, start_cpu=1), [41]),
    ],
    ids=[
        "early",
        "a millisecond left",
        "semaphore",
        "guest ran",
        "return missed, detection kept on",
        "return missed, not watched",
        "return missed, not warned",
        "return missed, released",
        "nothing known",
        "slept to the end, not watched",
        "detection_off",
        "completed elsewhere",
        "fatal",
        "early elsewhere",
        "on another CPU",
    ],
)
def test_a_trap_in_the_middle(tmp_path: Path, trap: Row, chains: list[int]) -> None:
    rows = [*loop(20), trap, *loop(20, 21 * MS)]
    assert sizes(tmp_path, rows, detection=[]) == chains


def test_a_chain_of_the_semaphore_alone(tmp_path: Path) -> None:
    finding = one(tmp_path, [interrupted(index * MS) for index in range(200)])
    assert (finding.verdict, finding.numbers.semaphore_early_returns) == ("livelock", 200)
    assert finding.numbers.early_returns == 200


@pytest.mark.parametrize("result", [0, 1])
def test_a_semaphore_that_was_taken_is_no_early_return(tmp_path: Path, result: int) -> None:
    assert find(tmp_path, [interrupted(index * MS, semaphore_result=result) for index in range(200)]) == []


def test_what_a_chain_is_broken_by_belongs_to_neither_half(tmp_path: Path) -> None:
    finding = one(tmp_path, [*loop(20), not_penalized(20 * MS), *loop(20, 30 * MS)])
    assert (finding.numbers.loops, finding.numbers.traps, finding.numbers.progress.detection_off) == (
        2,
        41,
        1,
    )
    assert finding.numbers.early_returns == len(finding.evidence) == 40
    assert finding.numbers.longest_ns == 20 * MS - 30_000
    assert finding.numbers.in_loops_ns == 40 * MS - 60_000


def test_halves_shorter_than_a_penalty_are_no_loop(tmp_path: Path) -> None:
    assert len(find(tmp_path, loop(21))) == 1
    assert find(tmp_path, [*loop(10), not_penalized(10 * MS), *loop(10, 11 * MS)]) == []
    opened = window(10 * MS - 20_000, 10 * MS - 10_000)
    assert find(tmp_path, loop(21), detection=opened) == []


def test_time_in_the_guest_does_not_help_the_instruction(tmp_path: Path) -> None:
    finding = one(tmp_path, loop(40, period_ns=20 * MS, guest_ns=19 * MS))
    assert (finding.numbers.loops, finding.verdict) == (1, "livelock")


# Addresses and threads


def test_two_addresses_in_turn_are_two_loops(tmp_path: Path) -> None:
    turns = [row | {"rip": (RIP, OTHER_RIP)[index % 2]} for index, row in enumerate(loop(200))]
    found = find(tmp_path, turns)
    assert {each.rip: len(each.evidence) for each in found} == {RIP: 100, OTHER_RIP: 100}
    assert [each.numbers.loops for each in found] == [1, 1]
    assert [each.verdict for each in found] == ["livelock"] * 2


def test_one_address_after_the_other(tmp_path: Path) -> None:
    rows = loop(30) + loop(60, 30 * MS, rip=OTHER_RIP)
    assert [(each.rip, each.numbers.traps) for each in find(tmp_path, rows)] == [
        (OTHER_RIP, 60),
        (RIP, 30),
    ]


def test_addresses_that_differ_in_the_last_bit_are_distinct(tmp_path: Path) -> None:
    high = 0xFFFF_FFFF_8100_0000
    turns = [row | {"rip": high + index % 2} for index, row in enumerate(loop(200))]
    assert {each.rip: len(each.evidence) for each in find(tmp_path, turns)} == {high: 100, high + 1: 100}
    assert one(tmp_path, loop(30, rip=high + 1)).rip == high + 1


@pytest.mark.parametrize("other", [{"tid": 302}, {"tgid": 300}], ids=["thread", "same TID, later process"])
def test_a_chain_does_not_go_on_in_another_thread(tmp_path: Path, other: dict[str, int]) -> None:
    first, second = lasting(LONGEST - MS, 2), lasting(LONGEST - MS, 2, LONGEST, **other)
    assert sizes(tmp_path, first + second) == [2, 2]
    assert find(tmp_path, first + second) == []
    found = find(tmp_path, loop(40) + loop(30, 40 * MS, **other))
    assert [(subject_of(each).tgid, subject_of(each).tid, each.numbers.traps) for each in found] == [
        (VMM, VCPU, 40),
        (other.get("tgid", VMM), other.get("tid", VCPU), 30),
    ]


def test_threads_that_take_turns_are_kept_apart(tmp_path: Path) -> None:
    mine = loop(100, tid=301, vcpu=0)
    yours = loop(50, MS // 2, tid=302, vcpu=1)
    stranger = [completed(index * 20 * MS, tid=303, vcpu=2, start_cpu=1) for index in range(5)]
    found = find(tmp_path, mine + yours + stranger)
    assert [(subject_of(each).tid, subject_of(each).vcpu, each.numbers.traps) for each in found] == [
        (301, 0, 100),
        (302, 1, 50),
    ]
    assert [each.numbers.progress.detection_off for each in found] == [0, 0]


def test_records_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    rows = loop(30) + loop(30, tid=302)
    assert [subject_of(each).tid for each in find(tmp_path, rows[::-1])] == [VCPU, 302]
    assert find(tmp_path, rows[::-1])[0].numbers == find(tmp_path, rows)[0].numbers


# Detection off on the core, by another thread. The trap before the gap returns at BEFORE, the next begins at
# AFTER; a trap lasts MS - 30_000.

AFTER = 30 * MS
BEFORE = AFTER - 30_000


@pytest.mark.parametrize(
    ("writes", "chains"),
    [
        (window(BEFORE + 1, AFTER - 1), [30, 30]),
        (window(BEFORE - MS // 2, BEFORE - 1), [60]),
        (window(BEFORE - MS // 2, BEFORE), [30, 30]),
        (window(BEFORE - MS // 2, BEFORE + 1), [30, 30]),
        (window(AFTER - 1, AFTER + MS // 2), [30, 30]),
        (window(AFTER, AFTER + MS // 2), [60]),
        (window(BEFORE - 2 * MS - MS // 2, BEFORE - MS // 2), [28, 32]),
        (window(AFTER - 1), [30, 30]),
        (window(BEFORE - 3000, BEFORE - 2000) + window(BEFORE - 1000), [30, 30]),
        (window(BEFORE - 3000) + window(BEFORE - 2000, BEFORE - 1), [60]),
        (window(BEFORE + 10) + window(BEFORE + 20, BEFORE + 30), [30, 30]),
        (window(BEFORE - 3000, BEFORE - 2000) + window(BEFORE + 10, AFTER - 10), [30, 30]),
        (window(BEFORE - 3000, BEFORE - 2000) + window(AFTER, AFTER + 10), [60]),
        (window(BEFORE + 10, AFTER - 10)[1:], [60]),
        (window(BEFORE + 10, AFTER - 10) + window(AFTER, AFTER + 10)[1:], [30, 30]),
        ([], [60]),
    ],
    ids=[
        "in the gap",
        "over before the return",
        "over at the return",
        "over after the return",
        "begun before the trap",
        "begun with the trap",
        "over two gaps: the trap between proves that it is on",
        "the end was not seen",
        "begun again after the end",
        "off twice, over before the return",
        "off twice in the gap",
        "one over, one in the gap",
        "one over, one too late",
        "switched on only",
        "switched on twice",
        "none",
    ],
)
def test_detection_off_on_the_core(tmp_path: Path, writes: list[Row], chains: list[int]) -> None:
    ordered = sorted(writes, key=lambda each: each["ns"])
    assert sizes(tmp_path, loop(60), detection=ordered) == chains


@pytest.mark.parametrize(
    ("cores", "cpu", "chains"),
    [
        ({}, 0, [30, 30]),
        ({}, 4, [60]),
        ({"0": 0, "4": 0}, 4, [30, 30]),
        ({"0": 0, "4": 4}, 4, [60]),
        ({"0": 4, "4": 4}, 4, [30, 30]),
        ({"0": "0", "4": None}, 4, [60]),
    ],
    ids=["same CPU", "another CPU", "sibling", "another core", "first CPU of the core", "not numbers"],
)
def test_the_msr_is_shared_by_the_core(
    tmp_path: Path, cores: dict[str, Any], cpu: int, chains: list[int]
) -> None:
    opened = window(BEFORE + 10, AFTER - 10, cpu)
    assert sizes(tmp_path, loop(60), detection=opened, opening=facts(cpu={"cores": cores})) == chains


def test_only_the_bit_of_split_locks_counts(tmp_path: Path) -> None:
    off, on = window(BEFORE + 10, AFTER - 10)
    kept = [off | {"value": DETECT | 1}, on]
    assert sizes(tmp_path, loop(60), detection=kept) == [60]
    others = [off | {"value": ~DETECT & 0xFFFF_FFFF_FFFF_FFFF}, on]
    assert sizes(tmp_path, loop(60), detection=others) == [30, 30]


def test_the_core_is_that_on_which_the_next_trap_begins(tmp_path: Path) -> None:
    opened = window(BEFORE + 10, AFTER - 10, cpu=1)
    assert sizes(tmp_path, at(loop(60), 30, start_cpu=1), detection=opened) == [30, 30]
    assert sizes(tmp_path, at(loop(60), 29, start_cpu=1, end_cpu=1), detection=opened) == [60]


def test_windows_of_two_cores_do_not_end_each_other(tmp_path: Path) -> None:
    opened = window(BEFORE + 10, AFTER - 10, 0)
    elsewhere = window(BEFORE - 500, BEFORE + 5, 1)
    ordered = sorted(opened + elsewhere, key=lambda each: each["ns"])
    assert sizes(tmp_path, loop(60), detection=ordered) == [30, 30]
    # Switched on at another core only: off here, until the next trap proves the contrary.
    assert sizes(tmp_path, loop(60), detection=[opened[0], opened[1] | {"cpu": 1}]) == [30, 30]


def test_a_penalty_of_another_thread_lets_this_one_through(tmp_path: Path) -> None:
    """From its end on to the next trap on the same core."""
    neighbour = completed(17 * MS - 40_000, tid=999)
    assert sizes(tmp_path, [*loop(60), neighbour]) == [30, 30]
    assert sizes(tmp_path, [*loop(60), neighbour | {"end_cpu": 1}]) == [60]


# Where the MSR was not watched


@pytest.mark.parametrize(
    ("flags", "gap_ns", "chains"),
    [
        (EARLY | GUEST, 10 * LONGEST, [6]),
        (BLIND, LONGEST - 1, [6]),
        (BLIND, LONGEST, [3, 3]),
    ],
    ids=["watched", "less than a penalty", "a penalty"],
)
def test_a_gap_is_bridged_only_where_the_msr_was_watched(
    tmp_path: Path, flags: int, gap_ns: int, chains: list[int]
) -> None:
    rows = lasting(10 * MS) + at(lasting(10 * MS, at_ns=10 * MS + gap_ns), 0, flags=flags)
    assert sizes(tmp_path, rows) == chains
    # Both must have watched: the probe may have been attached in the gap.
    assert sizes(tmp_path, at(rows, 2, flags=BLIND)) == ([6] if gap_ns < LONGEST else [3, 3])


def test_a_window_counts_also_where_the_trap_was_not_watched(tmp_path: Path) -> None:
    opened = window(BEFORE + 10, AFTER - 10)
    assert sizes(tmp_path, loop(60, flags=BLIND), detection=opened) == [30, 30]


# The rule again, as a plain walk over every thread's traps


def windows(writes: list[tuple[int, int, bool]], cpu: int) -> list[tuple[int, float]]:
    """When detection was off on that CPU: from, to."""
    found: list[tuple[int, float]] = []
    begun: int | None = None
    for when, _, on in sorted(write for write in writes if write[1] == cpu):
        if not on and begun is None:
            begun = when
        elif on and begun is not None:
            found.append((begun, when))
            begun = None
    return found if begun is None else [*found, (begun, float("inf"))]


def oracle(rows: list[dict[str, Any]], writes: list[tuple[int, int, bool]]) -> dict[Any, list[int]]:
    """Lengths of the loops by process, thread and address."""
    found: dict[Any, list[int]] = {}
    writes = writes + [(row["start_ns"], row["start_cpu"], True) for row in rows]  # a trap: it is on
    for who in {(row["tgid"], row["tid"]) for row in rows}:
        last: dict[str, Any] | None = None
        open_chains: dict[int, list[dict[str, Any]]] = {}
        ended: list[list[dict[str, Any]]] = []
        for row in (row for row in rows if (row["tgid"], row["tid"]) == who):
            if last is not None:
                off = windows(writes, row["start_cpu"])
                passed = any(begin < row["start_ns"] and end >= last["end_ns"] for begin, end in off)
                watched = row["msr_watched"] and last["msr_watched"]
                unknown = not watched and row["start_ns"] - last["end_ns"] >= LONGEST
                if passed or unknown or not row["early_return"]:
                    ended += open_chains.values()
                    open_chains = {}
            if row["early_return"]:
                open_chains.setdefault(row["rip"], []).append(row)
            last = row
        for chain in [*ended, *open_chains.values()]:
            length = chain[-1]["end_ns"] - chain[0]["start_ns"]
            if len(chain) >= 3 and length > LONGEST:
                found.setdefault((*who, chain[0]["rip"]), []).append(length)
    return found


STEP = TICK // 4
traps = st.fixed_dictionaries(
    {
        "tgid": st.sampled_from([200, 200, 200, 300]),
        "tid": st.sampled_from([301, 301, 302]),
        "rip": st.sampled_from([RIP, RIP, OTHER_RIP]),
        "early_return": st.sampled_from([True] * 9 + [False]),
        "msr_watched": st.booleans(),
        "start_cpu": st.sampled_from([0, 0, 1]),
        "gap": st.sampled_from([1, 2, 3, 15, 16, 17]),
        "length": st.integers(1, 12),
    }
)
writes = st.lists(
    st.tuples(st.integers(0, 150), st.integers(0, 1), st.booleans()),
    max_size=8,
    unique_by=lambda each: each[0],
)


@given(st.lists(traps, max_size=30), writes, st.lists(st.integers(0, 300), max_size=6))
def test_any_sequence_agrees_with_a_plain_walk_however_it_is_cut(
    given_traps: list[dict[str, Any]], given_writes: list[tuple[int, int, bool]], cuts: list[int]
) -> None:
    now, rows = 0, []
    for trap in given_traps:
        enter = now + trap["gap"] * STEP
        now = enter + trap["length"] * STEP
        rows.append(trap | {"start_ns": enter, "end_ns": now})
    moments = [(step * STEP, cpu, on) for step, cpu, on in given_writes]
    records = np.zeros(len(rows), schema.current().records["trap"].dtype)
    for index, row in enumerate(rows):
        for name in ("tgid", "tid", "rip", "start_cpu", "start_ns", "end_ns"):
            records[name][index] = row[name]
        records["sleep_left_ms"][index] = row["early_return"]
        records["flags"][index] = row["msr_watched"] * FLAGS["MSR_WATCHED"]
    written = array("detection", [{"ns": ns, "cpu": cpu, "value": on * DETECT} for ns, cpu, on in moments])
    slicer, summary = Slicer(), LoopSummary(KERNEL, lambda cpu: cpu)
    fold = Fold([summary])
    slicer.add("trap", records)
    slicer.add("detection", written)
    for cut in [*sorted(cuts), None]:
        fold.update(slicer.take(None if cut is None else cut * STEP))
    lengths = {}
    for each in summary.loops():
        spans = summary.spans(each)
        lengths[each.tgid, each.tid, each.rip] = sorted((spans["end"] - spans["start"]).tolist())
    expected = {who: sorted(each) for who, each in oracle(rows, moments).items()}
    assert lengths == expected
    for each in summary.loops():
        mine = expected[each.tgid, each.tid, each.rip]
        assert (each.loops, each.longest_ns, each.in_loops_ns) == (len(mine), max(mine), sum(mine))
