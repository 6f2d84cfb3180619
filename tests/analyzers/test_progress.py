"""What else a thread did in its loop, how sure the verdict is, and the phases of a thread that recovers."""

from pathlib import Path

import pytest

from sldtrace.analyzers.finding import Confidence
from tests.analyzers.shorthands import one
from tests.analyzers.synthetic import (
    BLIND,
    EARLY,
    FLAGS,
    GUEST,
    LONGEST,
    MS,
    START_NS,
    TICK,
    completed,
    detections,
    exited,
    lasting,
    loop,
    moved,
    window,
)


def test_a_standstill_that_was_watched_is_certain(tmp_path: Path) -> None:
    finding = one(tmp_path, loop(200))
    assert finding.confidence is Confidence.CERTAIN


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (EARLY & ~FLAGS["MSR_WATCHED"] | GUEST | FLAGS["RETURN_MISSED"], "1 trap the result was not seen"),
    ],
    ids=["return"],
)
def test_what_was_not_seen_makes_it_likely(tmp_path: Path, flags: int, words: str) -> None:
    rows = loop(200)
    rows[100] |= {"flags": flags}
    finding = one(tmp_path, rows)
    assert (finding.confidence, words in finding.confidence_reason) == (Confidence.LIKELY, True)


@pytest.mark.parametrize(
    ("watched_ns", "confidence"),
    [(8 * LONGEST, Confidence.CERTAIN), (8 * LONGEST - 1, Confidence.LIKELY)],
)
def test_the_probe_of_the_register_comes_a_moment_late(
    tmp_path: Path, watched_ns: int, confidence: Confidence
) -> None:
    """As long as what it saw is a livelock by itself."""
    rows = [*loop(20, flags=BLIND), *lasting(watched_ns, 40, 20 * MS)]
    assert one(tmp_path, rows).confidence is confidence


@pytest.mark.parametrize(
    ("at_ns", "kind", "confidence"),
    [
        (0, 1, Confidence.POSSIBLE),
        (2_199 * MS, 1, Confidence.POSSIBLE),  # the counters are read once a second
        (2_201 * MS, 1, Confidence.CERTAIN),  # after its end
        (100 * MS, 3, Confidence.CERTAIN),  # names of threads
    ],
)
def test_traps_that_were_lost_in_its_time_make_it_possible(
    tmp_path: Path, at_ns: int, kind: int, confidence: Confidence
) -> None:
    lost = [{"ns": START_NS + at_ns, "cpu": 0, "kind": kind, "cause": 1, "count": 9}]
    finding = one(tmp_path, loop(200), lost=lost)
    assert finding.confidence is confidence
    assert ("9 traps may be missing" in finding.confidence_reason) == (confidence is Confidence.POSSIBLE)


def test_what_was_lost_before_a_thread_looped_does_not_count(tmp_path: Path) -> None:
    lost = [{"ns": START_NS + 100 * MS, "cpu": 0, "kind": 1, "cause": 1, "count": 9}]
    assert one(tmp_path, loop(200, 200 * MS), lost=lost).confidence is Confidence.CERTAIN


@pytest.mark.parametrize(
    ("away_ns", "back_ns", "elsewhere"),
    [
        (10 * MS + 955_000 + 20_000, 10 * MS + 995_000, 1),  # between two traps, while detection is off there
        (10 * MS + 100_000, 10 * MS + 900_000, 0),  # asleep all the time
        (15 * MS + 975_000, 15 * MS + 995_000, 0),  # when it is on again
    ],
)
def test_a_visit_to_a_core_without_detection(
    tmp_path: Path, away_ns: int, back_ns: int, elsewhere: int
) -> None:
    moves = [moved(away_ns, 0, 1), moved(back_ns, 1, 0)]
    finding = one(tmp_path, loop(200), more={"migrate": moves}, detection=window(8 * MS, 14 * MS, cpu=1))
    assert finding.numbers.progress.elsewhere == elsewhere
    assert (finding.confidence is Confidence.POSSIBLE) == bool(elsewhere)


def test_other_code_of_the_guest(tmp_path: Path) -> None:
    exits = [exited(index * MS - 10_000, vector=17) for index in range(1, 200)]
    exits += [exited(index * MS - 20_000, 1, rip=0x9000 + index % 3) for index in range(1, 100)]
    exits += [exited(5_000 * MS, 1, rip=0xFFFF)]
    finding = one(tmp_path, loop(200), more={"exit": exits})
    found = finding.numbers.progress
    assert (found.exit_records, found.other_exits, found.other_addresses) == (298, 99, 3)
    (text,) = (fact.text for fact in finding.facts if fact.label == "progress")
    assert "99 exits other than the traps, 3 other addresses: other code of the guest runs" in text
    alone = one(tmp_path, loop(200), more={"exit": exits[:199]})
    assert alone.numbers.progress.other_addresses == 0
    assert "other code" not in str(alone.facts)


PAUSE = 8 * LONGEST


@pytest.mark.parametrize(("pause_ns", "phases"), [(PAUSE, 0), (PAUSE + 1, 3)])
def test_a_loop_that_ended_and_came_again_is_two(tmp_path: Path, pause_ns: int, phases: int) -> None:
    again = 200 * MS + pause_ns
    between = completed(200 * MS + 4 * TICK)
    rows = [*lasting(200 * MS, 40), between, *lasting(200 * MS, 40, again)]
    finding = one(tmp_path, rows, detection=detections(rows))
    assert len(finding.intervals) == phases
    if phases:
        assert [each.verdict for each in finding.intervals] == ["loop", "progresses", "loop"]
        first, healthy, last = finding.intervals
        assert (first.end_ns, last.start_ns) == (START_NS + 200 * MS, START_NS + again)
        assert (healthy.start_ns, healthy.end_ns) == (first.end_ns, last.start_ns)
        assert (healthy.traps, healthy.early_returns, healthy.detection_off) == (1, 0, 1)
        assert (first.traps, first.early_returns, first.detection_off) == (40, 40, 0)


def test_a_pause_without_split_locks(tmp_path: Path) -> None:
    flags = BLIND  # nothing else ends a chain then but time
    rows = [*loop(100, flags=flags), *loop(100, 2_000 * MS, flags=flags)]
    assert [each.verdict for each in one(tmp_path, rows).intervals] == ["loop", "no split locks", "loop"]
