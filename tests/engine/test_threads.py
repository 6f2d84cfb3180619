"""Numbers of threads: one for each TGID and TID, also where a TID was used again."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine.threads import Threads

ids = st.sampled_from([0, 1, 2, 5000, (1 << 22) - 1, 1 << 22, (1 << 22) + 1, (1 << 32) - 1])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.tuples(ids, ids), max_size=10), max_size=6))
def test_numbers_are_those_of_appearance(batches: list[list[tuple[int, int]]]) -> None:
    threads, expected = Threads(), dict[tuple[int, int], int]()
    for batch in batches:
        tgid, tid = (np.array([each[n] for each in batch], np.uint32) for n in (0, 1))
        known = [expected.get(who, -1) for who in batch]
        assert threads.find(tgid, tid).tolist() == known
        found = threads.numbers(tgid, tid)
        for who in batch:
            expected.setdefault(who, len(expected))
        assert found.tolist() == [expected[who] for who in batch]
    assert list(zip(threads.tgid.tolist(), threads.tid.tolist(), strict=True)) == list(expected)
    assert all(threads.look_up(*who) == number for who, number in expected.items())
    assert threads.look_up(77, 77) is None


def test_threads_are_forgotten() -> None:
    threads = Threads()
    tid = np.arange(10, dtype=np.uint32)
    threads.numbers(tid, tid)
    threads.keep(np.array([3, 7]))
    assert threads.tid.tolist() == [3, 7]
    assert threads.numbers(tid, tid)[[3, 7, 0]].tolist() == [0, 1, 2]
