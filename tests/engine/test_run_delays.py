"""Sums of samples of threads, however the records are cut."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine.run_delays import RunDelay, RunDelaySums
from tests.analyzers.synthetic import MS, VCPU, VMM, Row, sampled
from tests.engine.histories import cuts
from tests.engine.sliced import fold

_SAMPLES = st.lists(
    st.tuples(st.integers(1, 800), st.integers(0, 9), st.integers(0, 9), st.integers(0, 3)), max_size=12
).map(
    lambda given: [
        sampled(at * MS, delay, throttled, MS, tid=VCPU + who) for at, delay, throttled, who in given
    ]
)


@settings(deadline=None, max_examples=100)
@given(_SAMPLES, cuts)
def test_however_the_records_are_cut(rows: list[Row], cuts: list[int]) -> None:
    summary = RunDelaySums()
    fold(summary, {"schedstat": rows}, cuts)
    for tid in range(VCPU, VCPU + 4):
        mine = [row for row in rows if row["tid"] == tid]
        expected = RunDelay(
            sampled_ns=len(mine) * MS,
            run_ns=sum(row["run_ns"] for row in mine),
            run_delay_ns=sum(row["run_delay_ns"] for row in mine),
            throttled_ns=sum(min(row["throttled_ns"], row["run_delay_ns"]) for row in mine),
        )
        assert summary.of_thread(VMM, tid) == (expected if mine else None)


def test_threads_above_the_limit_are_counted() -> None:
    summary = RunDelaySums(most=2)
    fold(summary, {"schedstat": [sampled(n * MS, 1, tid=n % 4) for n in range(8)]})
    assert summary.left_out == 4
    assert summary.of_thread(VMM, 3) is None


def test_no_value_of_a_damaged_file_is_longer_than_its_time() -> None:
    summary = RunDelaySums()
    wrong = sampled(9 * MS, 1 << 63, (1 << 64) - 1, MS, run_ns=1 << 40)
    backwards = sampled(9 * MS, 7 * MS, tid=1, since_ns=1 << 62)
    fold(summary, {"schedstat": [wrong, sampled(8 * MS, 1 << 62, 1 << 62, MS), backwards]})
    assert summary.of_thread(VMM, VCPU) == RunDelay(2 * MS, 2 * MS, MS, MS)
    assert summary.of_thread(VMM, 1) is None
