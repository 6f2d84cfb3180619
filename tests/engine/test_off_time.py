"""How long detection was off, against a plain walk over each core's events, however the records are cut."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine.off_time import OffTime
from sldtrace.engine.traps import Tracker
from tests.engine.test_windows import END, Write, core, moments, run, traps_, walk, writes_


@settings(deadline=None, max_examples=100)
@given(writes_, traps_, st.lists(moments, max_size=5))
def test_it_is_the_sum_of_the_windows(
    writes: list[Write], traps: list[tuple[int, int]], cuts: list[int]
) -> None:
    off = OffTime(core)
    run(writes, traps, cuts, off.update, Tracker())
    assert off.until(END) == sum(end - start for _, start, _, _, end, _ in walk(writes, traps, [END]))


@settings(deadline=None, max_examples=100)
@given(writes_, traps_, st.lists(moments, max_size=5))
def test_it_never_falls_while_it_is_watched(
    writes: list[Write], traps: list[tuple[int, int]], cuts: list[int]
) -> None:
    off, seen, looks = OffTime(core), [0], iter([*sorted(cuts), END])

    def add(batch: object) -> None:
        off.update(batch)  # type: ignore[arg-type]
        seen.append(off.until(next(looks)))

    run(writes, traps, cuts, add, Tracker())
    assert seen == sorted(seen)
