"""The detector that works while the recording goes on, against the analyzer that has the whole of it."""

import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.analyzers.finding import Finding
from sldtrace.capture.live import detector
from sldtrace.capture.live.detector import Detector
from sldtrace.dataset import trace as traces
from sldtrace.dataset.trace import Trace
from sldtrace.engine.loops import Loop
from sldtrace.model import penalty
from tests.analyzers.shorthands import loops_of, subject_of
from tests.analyzers.synthetic import (
    BLIND,
    EARLY,
    FLAGS,
    GUEST,
    LONGEST,
    MS,
    START_NS,
    TICK,
    VCPU,
    VMM,
    Row,
    array,
    completed,
    detections,
    early,
    facts,
    interrupted,
    lasting,
    loop,
    not_penalized,
    trace,
    window,
)
from tests.recording import samples

KERNEL = penalty.for_kernel("6.12", TICK)
CORES = {0: 0, 1: 0, 2: 2, 3: 2}
SECOND = 1_000 * MS
SHORT_LAG = 60 * MS  # longer than any generated trap, and short enough that batches are judged one by one


def key(tgid: int, tid: int, rip: int) -> tuple[int, int, int]:
    return tgid, tid, rip


def thread_and_address(found: Finding[Any]) -> tuple[int, int, int]:
    assert found.rip is not None
    subject = subject_of(found)
    return key(subject.tgid, subject.tid, found.rip)


def offline(recorded: Trace) -> dict[tuple[int, int, int], dict[str, object]]:
    """What the analyzer says, as far as the detector says it too."""
    return {
        thread_and_address(found): {
            "kind": found.kind,
            "verdict": found.verdict,
            "start_ns": found.start_ns,
            "end_ns": found.end_ns,
            **{
                name: getattr(found.numbers, name)
                for name in ("guest", "loops", "in_loops_ns", "longest_ns", "early_returns")
            },
        }
        for found in loops_of(recorded)
    }


def online(loops: Sequence[Loop]) -> dict[tuple[int, int, int], dict[str, object]]:
    return {
        key(each.tgid, each.tid, each.rip): {
            "kind": each.kind,
            "verdict": "livelock" if each.livelock else "delayed",
            **{
                name: getattr(each, name)
                for name in (
                    "start_ns",
                    "end_ns",
                    "guest",
                    "loops",
                    "in_loops_ns",
                    "longest_ns",
                    "early_returns",
                )
            },
        }
        for each in loops
    }


def fed(
    traps: np.ndarray, writes: np.ndarray, cuts: Sequence[int], watching: Detector | None = None
) -> Detector:
    """A detector that got the records as they would be drained: as traps end, in batches cut anywhere."""
    watching = watching or Detector(KERNEL, CORES, SHORT_LAG)
    arrivals = [(int(ns), "trap", index) for index, ns in enumerate(traps["end_ns"])]
    arrivals += [(int(ns), "detection", index) for index, ns in enumerate(writes["ns"])]
    arrivals.sort()
    edges = sorted({0, len(arrivals), *(cut % (len(arrivals) + 1) for cut in cuts)})
    for begin, end in itertools.pairwise(edges):
        batch = arrivals[begin:end]
        for kind, records in (("trap", traps), ("detection", writes)):
            watching.add(kind, records[[index for _, which, index in batch if which == kind]])
        watching.advance(batch[-1][0])
    watching.finish()
    return watching


def both(rows: list[Row], extra: list[Row], cuts: Sequence[int]) -> tuple[dict, dict]:  # type: ignore[type-arg]
    writes = sorted([*detections(rows), *extra], key=lambda row: row["ns"])
    rows = sorted(rows, key=lambda row: row["end_ns"])
    opening = facts(cpu={"cores": {str(cpu): core for cpu, core in CORES.items()}})
    with tempfile.TemporaryDirectory() as folder:
        recorded = trace(Path(folder), rows, detection=writes, opening=opening)
        watching = fed(array("trap", rows), array("detection", writes), cuts)
        return offline(recorded), online(watching.loops)


MISSED = EARLY | FLAGS["RETURN_MISSED"] | GUEST
MAKERS: dict[str, Callable[..., Row]] = {
    "early": early,
    "blind": lambda at, **rest: early(at, **{"flags": BLIND, **rest}),
    "missed": lambda at, **rest: early(at, left_ms=0, **{"flags": MISSED, **rest}),
    "interrupted": interrupted,
    "completed": completed,
    "not_penalized": not_penalized,
    "unknown": lambda at, **rest: early(at, left_ms=0, **rest),
}


@st.composite
def threads(draw: st.DrawFn) -> list[Row]:
    """Traps of up to four threads, each one trap after the other, in runs of one kind."""
    rows: list[Row] = []
    kinds = st.sampled_from(["early"] * 6 + list(MAKERS))
    run = st.tuples(
        kinds,
        st.integers(1, 40),  # traps
        st.sampled_from([20_001, MS, 3 * MS, 12 * MS, 30 * MS]),  # ns between them
        st.sampled_from([0x4000, 0x4000, 0x9000]),
        st.sampled_from([0, 1, 2]),
    )
    for tid in range(VCPU, VCPU + draw(st.integers(1, 4))):
        at = draw(st.integers(0, 50 * MS))
        for kind, count, gap, rip, cpu in draw(st.lists(run, min_size=1, max_size=6)):
            for _ in range(count):
                row = MAKERS[kind](at, tid=tid, rip=rip, start_cpu=cpu)
                rows.append(row)
                at = row["end_ns"] - START_NS + gap
    return rows


windows = st.lists(
    st.tuples(st.integers(0, 200 * MS), st.one_of(st.none(), st.integers(1, 30 * MS)), st.integers(0, 2)),
    max_size=4,
)


@settings(deadline=None, max_examples=150)
@given(threads(), windows, st.lists(st.integers(0, 2000), max_size=30))
def test_the_same_as_the_analyzer_however_the_records_are_cut(
    rows: list[Row], opened: list[tuple[int, int | None, int]], cuts: list[int]
) -> None:
    extra = [
        row for at, lasts, cpu in opened for row in window(at, None if lasts is None else at + lasts, cpu)
    ]
    analyzed, detected = both(rows, extra, cuts)
    assert detected == analyzed


def test_the_generated_sequences_are_not_all_trivial() -> None:
    rows = [
        *loop(200),
        *loop(30, tid=VCPU + 1, start_cpu=2),
        completed(40 * MS, tid=VCPU + 1, start_cpu=2),
        *loop(30, 60 * MS, tid=VCPU + 1, start_cpu=2),
    ]
    analyzed, detected = both(rows, [], range(0, 300, 7))
    assert sorted(each["verdict"] for each in analyzed.values()) == ["delayed", "livelock"]
    assert detected == analyzed


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "recording/data").glob("*.sld")))
def test_the_same_on_the_recordings_that_are_kept(path: Path) -> None:
    recorded = traces.load(path)
    records = {kind: recorded.recording.records(kind) for kind in ("trap", "detection")}
    watching = Detector(penalty.from_facts(recorded.facts), {})
    assert online(fed(records["trap"], records["detection"], range(50), watching).loops) == offline(recorded)


def test_how_long_the_penalty_is_was_seen() -> None:
    """A kernel called 6.1 that has 4381b895f544: its sleeps last one jiffy less, and so do its loops."""
    seen = loop(40, left_ms=12, tid=301)
    rows = [*seen, *lasting(LONGEST + MS, 10, SECOND, left_ms=12)]
    opening = facts(kernel={"release": "6.1.0-44-cloud-amd64"})
    with tempfile.TemporaryDirectory() as folder:
        analyzed = offline(trace(Path(folder), rows, opening=opening))
    watching = Detector(penalty.for_kernel("6.1", TICK), {})
    assert online(fed(array("trap", rows), array("detection", []), range(50), watching).loops) == analyzed
    assert {tid for _, tid, _ in analyzed} == {301, VCPU}
    assert watching.penalty.longest_sleep_ns == LONGEST < penalty.for_kernel("6.1", TICK).longest_sleep_ns


def test_it_tells_of_a_loop_once_and_once_more_when_it_is_a_livelock() -> None:
    watching = Detector(KERNEL, CORES)
    reported: list[tuple[int, bool]] = []
    for index, row in enumerate(loop(3000)):
        watching.add("trap", array("trap", [row]))
        now = row["end_ns"]
        reported += [(index, each.livelock) for each in watching.advance(now)]
    assert [livelock for _, livelock in reported] in ([True], [False, True])
    assert reported[-1][0] < 2100  # traps of 1 ms: the lag, and as long until it looks again
    assert watching.finish() == []
    assert watching.loops[0].early_returns == 3000


def judged(watching: Detector, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When it judged, in seconds after the first trap, with a look every 200 ms."""
    times: list[float] = []
    judge = watching._evaluate

    def noted(until: int | None) -> list[Loop]:
        assert until is not None
        times.append((until + detector.LAG_NS - START_NS) / SECOND)
        return judge(until)

    monkeypatch.setattr(watching, "_evaluate", noted)
    for look, batch in itertools.groupby(rows, lambda row: (row["end_ns"] - START_NS) // (SECOND // 5)):
        watching.add("trap", array("trap", batch))
        watching.advance(START_NS + (look + 1) * SECOND // 5)
    return times


def test_while_all_is_a_livelock_and_nothing_is_new_it_looks_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watching = Detector(KERNEL, CORES)
    times = judged(watching, loop(20_000), monkeypatch)
    pauses = [round(later - before) for before, later in itertools.pairwise(times)]
    assert pauses == sorted(pauses)
    assert list(dict.fromkeys(pauses)) == [1, 2, 4]


def test_another_thread_that_begins_to_loop_brings_the_pauses_back(monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Detector(KERNEL, CORES)
    rows = loop(20_000) + loop(8_000, 12 * SECOND, tid=VCPU + 1)
    times = judged(watching, sorted(rows, key=lambda row: row["end_ns"]), monkeypatch)
    late = [later - before for before, later in itertools.pairwise(times) if before > 12]
    assert min(late) < 1.5
    assert {each.tid for each in watching.loops if each.livelock} == {VCPU, VCPU + 1}


def test_where_nothing_loops_it_looks_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [completed(index * 25 * MS) for index in range(400)]
    times = judged(Detector(KERNEL, CORES), rows, monkeypatch)
    assert {round(later - before) for before, later in itertools.pairwise(times)} == {1}


def test_a_trap_that_outlasts_the_lag_still_belongs_to_its_thread() -> None:
    rows = loop(100)
    rows.append(interrupted(100 * MS, end_ns=START_NS + 5 * SECOND))
    rows += loop(100, 5 * SECOND + MS)
    watching = fed(array("trap", rows), array("detection", []), range(201))
    (found,) = watching.loops
    assert (found.loops, found.early_returns) == (1, 201)


def test_threads_are_forgotten_the_longest_silent_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "MAX_THREADS", 10)
    watching = Detector(KERNEL, CORES)
    looping = loop(600)
    for index in range(600):
        batch = [looping[index]]
        batch += [completed(index * MS + 20_000, tid=10_000 + index, end_ns=START_NS + index * MS + 40_000)]
        watching.add("trap", array("trap", batch))
        watching.finish()
        assert len(watching._fold.tracker.threads) <= 10
    assert [(each.tid, each.early_returns) for each in watching.loops] == [(VCPU, 600)]


def test_findings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "MAX_LOOPS", 5)
    rows = [row for tid in range(20) for row in loop(30, tid * 40 * MS, tid=tid)]
    watching = fed(array("trap", rows), array("detection", []), [])
    assert [each.tid for each in watching.loops] == [15, 16, 17, 18, 19]


def test_a_flood_is_judged_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "_MAX_WAITING", 1000)
    watching = Detector(KERNEL, CORES)
    waiting = []
    for start in range(0, 20_000, 500):
        watching.add("trap", array("trap", loop(500, start * MS // 10, MS // 10)))
        watching.advance(START_NS)
        waiting.append(watching._slicer.count)
    assert max(waiting) <= 1000
    assert watching.loops[0].longest_ns > LONGEST


def test_addresses_and_ids_keep_all_their_bits() -> None:
    rows = loop(200, rip=0xFFFF_FFFF_8100_0C0F, tgid=(1 << 31) + 5, tid=(1 << 32) - 1)
    (found,) = fed(array("trap", rows), array("detection", []), [7]).loops
    assert (found.rip, found.tgid, found.tid) == (0xFFFF_FFFF_8100_0C0F, (1 << 31) + 5, (1 << 32) - 1)
    assert found.tgid != VMM


def agree_wherever_cut(rows: list[Row], extra: list[Row]) -> list[dict]:  # type: ignore[type-arg]
    """The findings, the same for the analyzer and for the detector, cut at every place, or every few."""
    for step in range(1, 12):
        analyzed, detected = both(rows, extra, range(0, len(rows) + len(extra), step))
        assert detected == analyzed, step
    return list(analyzed.values())


def test_a_gap_without_records_of_the_msr_ends_a_chain_also_across_batches() -> None:
    gap = 2 * SHORT_LAG
    blind = loop(10, flags=BLIND)
    assert agree_wherever_cut([*blind, *loop(30, gap)], []) != []
    rows = [*blind, *loop(10, gap), *loop(10, 2 * gap)]
    (found,) = agree_wherever_cut(rows, [])
    assert found["start_ns"] == START_NS + gap  # the trap after the gap was watched, the one before was not


def test_a_trap_that_is_still_going_on_proves_that_detection_was_on() -> None:
    """Detection went off while a thread slept; only a trap that ends later shows that it came back."""
    mine = [early(0), early(MS, 9 * MS), *loop(60, 11 * MS)]
    other = early(3 * MS, 40 * MS, tid=VCPU + 1, start_cpu=1)
    found = agree_wherever_cut([*mine, other], window(2 * MS))
    assert next(each["start_ns"] for each in found if each["loops"] == 1) == START_NS
    found = agree_wherever_cut(mine, window(2 * MS))
    assert [each["start_ns"] for each in found] == [START_NS + 11 * MS]


def test_the_recorder_gets_it_without_pandas() -> None:
    code = (
        "import sys, sldtrace.capture.live.detector; print('pandas' in sys.modules, 'numpy' in sys.modules)"
    )
    assert samples.python(code).stdout == "False True\n"


def rows_of_three_threads() -> list[Row]:
    """One in a livelock, one that completes its penalties, one that is not penalized."""
    other = [completed(at * 20 * MS, tid=VCPU + 1, vcpu=1, start_cpu=2, end_cpu=2) for at in range(5)]
    last = [not_penalized(at * 20 * MS, tid=VCPU + 2, tgid=VMM + 7, start_cpu=3) for at in range(4)]
    return sorted([*loop(100), *other, *last], key=lambda row: row["end_ns"])


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_the_sums_of_each_thread_are_those_of_all_its_records(step: int) -> None:
    rows = rows_of_three_threads()
    traps = array("trap", rows)
    found = fed(traps, array("detection", detections(rows)), range(0, 2 * len(rows), step)).threads()
    assert {int(row["tid"]): int(row["traps"]) for row in found} == {VCPU: 100, VCPU + 1: 5, VCPU + 2: 4}
    for row in found:
        mine = traps[traps["tid"] == row["tid"]]
        assert row["slept_ns"] == mine["sleep_ns"].sum()
        assert row["waited_ns"] == mine["semaphore_ns"].sum()
        assert (row["start_ns"], row["end_ns"]) == (mine["start_ns"].min(), mine["end_ns"].max())
        newest = mine[mine["start_ns"].argmax()]
        for name in ("tgid", "rip", "vcpu", "signal", "signal_code", "sender_tid"):
            assert row[name] == newest[name], name
    assert [tuple(row) for row in found[["early_returns", "completed", "not_penalized", "fatal"]]] == [
        tuple(want[int(tid)])
        for want in ({VCPU: (100, 0, 0, 0), VCPU + 1: (0, 5, 0, 0), VCPU + 2: (0, 0, 4, 0)},)
        for tid in found["tid"]
    ]


def test_a_thread_is_in_a_loop_until_it_traps_without_one() -> None:
    watching = Detector(KERNEL, CORES, SHORT_LAG)
    watching.add("trap", array("trap", loop(200)))
    watching.finish()
    assert [(each.tid, each.livelock) for each in watching.going] == [(VCPU, True)]
    after = [completed(220 * MS), completed(240 * MS)]
    watching.add("trap", array("trap", after))
    watching.add("detection", array("detection", detections(after)))
    watching.finish()
    assert watching.going == []


def test_of_threads_that_are_forgotten_the_newest_keep_their_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "MAX_THREADS", 2)
    watching = Detector(KERNEL, CORES, SHORT_LAG)
    for number in range(5):
        watching.add("trap", array("trap", loop(10 + number, number * 100 * MS, tid=VCPU + number)))
        watching.finish()
    found = watching.threads()
    assert {int(row["tid"]): int(row["traps"]) for row in found} == {VCPU + 3: 13, VCPU + 4: 14}


def test_with_a_shorter_pause_a_livelock_is_evaluated_again_within_it() -> None:
    watching = Detector(KERNEL, CORES, SHORT_LAG, longest_pause_ns=SHORT_LAG)
    traps, counted = array("trap", loop(2000)), []
    for batch in np.array_split(traps, 100):
        watching.add("trap", batch)
        watching.advance(int(batch["end_ns"][-1]))
        counted.append(int(watching.threads()["traps"].sum()) if len(watching.threads()) else 0)
    behind = [20 * (at + 1) - count for at, count in enumerate(counted)]
    assert max(behind) <= 2 * SHORT_LAG // MS + 40


@pytest.mark.parametrize(("later_ns", "going"), [(0, 1), (1, 0)])
def test_a_loop_is_in_progress_for_two_seconds_after_its_last_trap(later_ns: int, going: int) -> None:
    watching = Detector(KERNEL, CORES, SHORT_LAG)
    rows = loop(200)
    watching.add("trap", array("trap", rows))
    watching.finish()
    watching.advance(rows[-1]["end_ns"] + detector.GOING_NS + SHORT_LAG + later_ns)
    assert len(watching.going) == going
