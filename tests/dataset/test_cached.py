"""What analyzers keep of a recording goes with it."""

import gc
import weakref
from pathlib import Path

from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.trace import Trace
from tests.analyzers.synthetic import LONGEST, lasting, trace


def test_once_for_each_recording(tmp_path: Path) -> None:
    calls: list[Trace] = []

    @per_trace
    def count(opened: Trace) -> int:
        calls.append(opened)
        return len(calls)

    one, other = trace(tmp_path, lasting(LONGEST)), trace(tmp_path, lasting(LONGEST))
    assert [count(one), count(one), count(other), count(one)] == [1, 1, 2, 1]
    assert calls == [one, other]


def test_an_analysed_recording_is_not_kept_open(tmp_path: Path) -> None:
    opened = trace(tmp_path, lasting(LONGEST))
    assert catalogue.run(opened)
    gone = weakref.ref(opened)
    del opened
    gc.collect()
    assert gone() is None
