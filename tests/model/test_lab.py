"""The model against the emulated host: what it predicts from half a second of livelock, and what happened.

The numbers in data/ were measured by `python -m tests.model.measure`; one recording and one table a kernel.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lab.kernel import KERNELS
from sldtrace.dataset import trace
from sldtrace.prediction import predict
from sldtrace.prediction import recorded_penalty as recorded_kernel
from sldtrace.prediction.predict import Prediction, WhatIf

DATA = Path(__file__).parent / "data"


def table(kernel: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((DATA / f"{kernel}.json").read_text())["rows"]
    return rows


@cache
def recorded(kernel: str) -> trace.Trace:
    return trace.load(DATA / f"{kernel}.sld")


def predicted(kernel: str, row: dict[str, Any]) -> Prediction:
    (found,) = predict.run(recorded(kernel), WhatIf("", row["timeout_ns"], row["mitigate"]))
    return found


def rate(row: dict[str, Any]) -> float:
    return float(row["traps"] / (row["ran_ns"] / 1e9))


ROWS = [(kernel, row) for kernel in KERNELS for row in table(kernel)]
NAMES = [f"{kernel}-{row['timeout_ns'] // 1_000_000}ms-{row['mitigate']}" for kernel, row in ROWS]


@pytest.mark.parametrize(("kernel", "row"), ROWS, ids=NAMES)
def test_progress_and_traps_are_those_of_the_lab(kernel: str, row: dict[str, Any]) -> None:
    found = predicted(kernel, row)
    if found.progress == "chance":
        # Only within one jiffy of the threshold, and only where the penalty is on.
        penalty = recorded_kernel.penalty(recorded(kernel))
        assert row["mitigate"] == 1
        assert penalty.always_early_below_ns <= row["timeout_ns"] <= penalty.always_completes_above_ns
    else:
        assert (found.progress == "yes") == (row["loops"] > 0)
    assert found.traps_per_s == pytest.approx(rate(row), rel=0.1)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_timer_was_measured(kernel: str) -> None:
    rows = table(kernel)
    for mitigate in (0, 1):
        timers = {row["timeout_ns"] // 1_000_000 for row in rows if row["mitigate"] == mitigate}
        assert {*range(1, 21), 25, 31, 40} <= timers
    # And the lab did what the threshold is about: both outcomes, on both sides.
    assert {row["loops"] > 0 for row in rows if row["mitigate"]} == {True, False}


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_recorded_timer_is_recognised(kernel: str) -> None:
    """The monitor arms a timer of 1 ms before each KVM_RUN."""
    (found,) = predict.run(recorded(kernel), WhatIf())
    source = found.profile.source
    assert source.kind.value == "rearmed"
    assert source.period_ns == pytest.approx(1_000_000, rel=0.05)
    assert (source.signo, source.code, source.to_process) == (10, -2, False)
    assert found.progress == "no"
    assert found.traps_per_s == pytest.approx(found.profile.traps / (found.profile.span_ns / 1e9), rel=0.05)
