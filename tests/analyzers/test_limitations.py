"""What a report says it cannot see."""

from functools import partial
from pathlib import Path

import pytest

from sldtrace.analyzers import limitations
from sldtrace.dataset import folding
from sldtrace.engine.loops import LoopSummary
from tests.analyzers.synthetic import loop, trace


def test_loops_that_are_forgotten_are_a_limitation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*loop(60), *loop(60, tid=900)]
    assert limitations.sentences(trace(tmp_path, rows)) == []
    monkeypatch.setattr(folding, "LoopSummary", partial(LoopSummary, most=1))
    (sentence,) = limitations.sentences(trace(tmp_path, rows))
    assert "more threads, addresses or loops than the analysis keeps: 1 time there was no room" in sentence
