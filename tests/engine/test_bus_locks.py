"""VM exits by bus locks, however the records are cut."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine.bus_locks import BusLockExits
from sldtrace.recording import schema
from tests.analyzers.synthetic import START_NS, exited
from tests.engine.sliced import fold

ISA = schema.current().enums["isa"].values
reasons = st.tuples(st.integers(1, 3), st.sampled_from([0, 74, 0xA5]), st.sampled_from(["VMX", "SVM"]))
exits = st.lists(reasons)


@settings(deadline=None, max_examples=50)
@given(exits, st.lists(st.integers(0, 30), max_size=4))
def test_however_the_records_are_cut(given_: list[tuple[int, int, str]], cuts: list[int]) -> None:
    rows = [
        exited(at, reason=reason, tgid=9, tid=tid) | {"isa": ISA[isa]}
        for at, (tid, reason, isa) in enumerate(given_)
    ]
    summary = BusLockExits()
    fold(summary, {"exit": rows}, cuts)
    for tid in (1, 2, 3):
        mine = [
            START_NS + at
            for at, (who, reason, isa) in enumerate(given_)
            if who == tid and (isa, reason) in (("VMX", 74), ("SVM", 0xA5))
        ]
        assert summary.of(9, tid) == (len(mine), sorted({*mine[:4], *mine[-3:]}))


def test_further_threads_are_left_out() -> None:
    summary = BusLockExits(most=1)
    fold(summary, {"exit": [exited(at, reason=74, tgid=9, tid=1 + at) for at in range(3)]}, [])
    assert summary.left_out == 2
    assert np.sum([summary.of(9, tid)[0] for tid in (1, 2, 3)]) == 1
