"""What a report says it cannot see."""

from functools import partial
from pathlib import Path

import pytest

from sldtrace.analyzers import limitations
from sldtrace.dataset import folding
from sldtrace.engine.loops import LoopSummary
from tests.analyzers.synthetic import facts, loop, trace


def test_loops_that_are_forgotten_are_a_limitation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*loop(60), *loop(60, tid=900)]
    assert limitations.sentences(trace(tmp_path, rows)) == []
    monkeypatch.setattr(folding, "LoopSummary", partial(LoopSummary, most=1))
    (sentence,) = limitations.sentences(trace(tmp_path, rows))
    assert "more threads, addresses or loops than the analysis keeps: 1 time there was no room" in sentence


def test_threads_without_room_are_named(tmp_path: Path) -> None:
    number, cause = 1, 2  # trap, table_full
    one = {"ns": 5, "count": 1, "kind": number, "cause": cause, "tgid": 70}
    lost = [
        one | {"tid": 72},
        one | {"tid": 71},
        one | {"tid": 71, "count": 9},
        one | {"cause": 1, "tid": 73},
    ]
    (sentence,) = limitations.sentences(trace(tmp_path, loop(60), lost=lost))
    assert "2 threads could not be followed" in sentence
    assert "PID 70, TID 71), a process (PID 70, TID 72)." in sentence


def test_more_threads_without_room_than_are_named(tmp_path: Path) -> None:
    lost = [{"ns": 5, "count": 1, "kind": 1, "cause": 2, "tgid": 70, "tid": tid} for tid in range(100, 120)]
    (sentence,) = limitations.sentences(trace(tmp_path, loop(60), lost=lost))
    assert "20 threads could not be followed" in sentence
    assert sentence.endswith("TID 115) and 4 more.")


def test_a_live_patch_is_a_limitation(tmp_path: Path) -> None:
    patched = facts(kernel={"replaced": {"split_lock_warn": ["hot\x1bfix"]}})
    (sentence,) = limitations.sentences(trace(tmp_path, loop(60), opening=patched))
    assert sentence.startswith(
        r"split_lock_warn is replaced by a live patch (hot\x1bfix): what the patch does"
    )
