"""The summary that answers the benchmark's central question: the answer is that of pandas."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import analysis
from sldtrace.engine import quantiles, slices
from sldtrace.engine.fold import Fold
from sldtrace.model import early_returns
from sldtrace.recording.reader import open_recording


def test_the_central_question_is_answered_as_by_pandas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over many slices."""
    monkeypatch.setattr(slices, "SLICE", 1 << 10)
    analysis.recording(tmp_path / "a.sld", "trap", 20_000, vcpus=3)
    central = analysis.Central()
    fold = Fold([central])
    with open_recording(tmp_path / "a.sld") as opened:
        fold.run(slices.slices(opened, central.kinds))
        traps = opened.records("trap")
    frame = pd.DataFrame({name: traps[name] for name in ("tgid", "tid", "rip", "sleep_ns", "start_ns")})
    frame["early"] = early_returns.signal_ended(traps)
    frame = frame.sort_values(["tid", "start_ns"], kind="stable")
    before = frame.groupby("tid")["early"].shift(fill_value=False)
    groups = frame.assign(begins=frame["early"] & ~before).groupby(["tgid", "tid", "rip"], sort=False)
    counts = central.counts
    assert sorted(counts[:, 0].tolist()) == sorted(groups.size().tolist())
    for column, name in enumerate(("early", "begins", "sleep_ns"), 1):
        assert sorted(counts[:, column].tolist()) == sorted(groups[name].sum().tolist())
    expected = groups["sleep_ns"].quantile(np.array([0.5, 0.99])).to_numpy().reshape(-1, 2)
    found = np.array(central.quantiles())
    order, other = np.lexsort(expected.T), np.lexsort(found.T)
    assert np.allclose(found[other], expected[order], rtol=2 * quantiles.RELATIVE_ERROR)
