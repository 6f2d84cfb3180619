"""Quantiles of many series: exact of few values, within the stated error of many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine import quantiles
from sldtrace.engine.quantiles import COARSE_ERROR, EXACT, RELATIVE_ERROR, Quantiles, buckets, middles

SHARES = [0.0, 0.25, 0.5, 0.75, 0.99, 1.0]

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1 << 62)), min_size=1, max_size=200)


def filled(series: np.ndarray, values: np.ndarray, cuts: list[int] | None = None) -> Quantiles:
    found = Quantiles()
    for part in np.split(np.arange(len(series)), sorted(cut % (len(series) + 1) for cut in cuts or [])):
        found.add(series[part], values[part])
    return found


def near(found: list[float], expected: np.ndarray, error: float = RELATIVE_ERROR) -> bool:
    return bool(np.all(np.abs(np.array(found) - expected) <= error * expected))


@settings(deadline=None, max_examples=50)
@given(pairs, st.lists(st.integers(0, 200), max_size=4))
def test_few_values_are_as_numpy_has_them(given_: list[tuple[int, int]], cuts: list[int]) -> None:
    series, values = (np.array(each) for each in zip(*given_, strict=True))
    found = filled(series, values, cuts)
    for each in np.unique(series):
        assert found.of(int(each), SHARES) == np.quantile(values[series == each], SHARES).tolist()
        assert found.count(int(each)) == np.count_nonzero(series == each)


@settings(deadline=None, max_examples=50)
@given(pairs, st.lists(st.integers(0, 200), max_size=4))
def test_histograms_are_within_the_error(given_: list[tuple[int, int]], cuts: list[int]) -> None:
    series, values = (np.array(each) for each in zip(*given_, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantiles, "EXACT", 3)
        patch.setattr(quantiles, "_ROOM", 4)
        found = filled(series, values, cuts)
    for each in np.unique(series):
        mine = np.sort(values[series == each])
        # Without interpolation: between two values that are far apart anything is near.
        shares = [index / max(len(mine) - 1, 1) for index in range(len(mine))]
        assert near(found.of(int(each), shares), np.quantile(mine, shares))


def test_a_bucket_holds_what_is_near_its_middle() -> None:
    values = np.unique(np.geomspace(1, 1 << 62, 10_000).astype(np.int64))
    error = np.abs(middles(buckets(values)) - values) / values
    assert error.max() <= RELATIVE_ERROR
    assert np.all(np.diff(buckets(values)) >= 0)
    assert middles(buckets(np.array([0]))) == [0.0]


def test_many_values_take_no_more_room() -> None:
    draw = np.random.default_rng(1)
    found, every = Quantiles(), []
    for _ in range(200):
        values = draw.integers(1_000_000, 16_000_000, 5_000)
        series = draw.integers(0, 20, 5_000)
        found.add(series, values)
        every.append((series, values))
    series, values = (np.concatenate([each[n] for each in every]) for n in (0, 1))
    assert found._exact_size == 0
    assert found._counted_size < 5 * quantiles._ROOM
    assert all(near(found.of(n, SHARES), np.quantile(values[series == n], SHARES)) for n in range(20))


def test_many_different_values_are_coarser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantiles, "MOST_BUCKETS", 1000)
    monkeypatch.setattr(quantiles, "_ROOM", 100)
    values = np.random.default_rng(2).integers(1_000_000, 16_000_000, 100_000)
    found = Quantiles()
    for part in np.split(values, 20):
        found.add(np.zeros(len(part), np.int64), part)
    assert near(found.of(0, SHARES), np.quantile(values, SHARES), COARSE_ERROR)
    assert found._counted_size < 40_000


def test_many_series_share_the_room_for_exact_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantiles, "EXACT_IN_ALL", 1000)
    series = np.concatenate([np.arange(100), np.full(1000, 100)])
    found = filled(series, np.arange(1100), [500, 900])
    assert found.of(7, [0.5]) == [7.0]
    assert found._exact_size == 100
    assert found.of(100, [0.5]) == pytest.approx([599.5], rel=0.01)


@pytest.mark.parametrize("most", [EXACT, 2])
def test_series_move_merge_and_go_away(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantiles, "EXACT", most)
    pending, sure = Quantiles(), Quantiles()
    pending.add(np.array([0, 0, 0, 1, 2]), np.array([64, 64, 64, 32, 16]))
    sure.add(np.array([0]), np.array([64]))
    pending.move(sure, np.array([0, 2]))
    pending.drop(np.array([1]))
    assert [pending.count(each) for each in range(3)] == [0, 0, 0]
    assert [sure.count(each) for each in range(3)] == [4, 0, 1]
    pending.add(np.array([0]), np.array([8]))
    sure.merge(pending, np.array([5]))
    assert sure.of(5, [0.5]) == pytest.approx([8], rel=RELATIVE_ERROR)
    assert sure.of(0, [0.5]) == pytest.approx([64], rel=RELATIVE_ERROR)
