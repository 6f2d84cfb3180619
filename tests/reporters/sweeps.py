"""Sweeps for the tests of plots: small, made up, on a kernel whose penalty is known."""

from dataclasses import replace
from unittest.mock import patch

from sldtrace.reporters import sweep_data
from sldtrace.reporters.sweep_data import Figure
from sldtrace.vmm.kicks import Kind
from sldtrace.vmm.swept import Point, Sweep

MS = 1_000_000

SWEEP = Sweep(
    guest="split-bts",
    splits=True,
    every=0,
    kick=Kind.TIMER,
    duration_ns=400 * MS,
    release="6.12.7-test",
    tick_ns=4 * MS,
    cpu="a CPU",
    mode="warn",
    whole=True,
    points=(
        Point(1, 1 * MS, 0, 360, 360, 400 * MS),
        Point(1, 8 * MS, 0, 48, 48, 400 * MS),
        Point(1, 25 * MS, 160_000, 16, 16, 400 * MS),
        Point(0, 1 * MS, 360_000, 360, 360, 400 * MS),
        Point(0, 25 * MS, 400_000, 16, 16, 400 * MS),
    ),
)


def figure(**changes: object) -> Figure:
    """The figure of SWEEP with other values, its lines with fewer points: each is a simulation."""
    with patch.object(sweep_data, "_LINE_POINTS", 24):
        return sweep_data.figure(replace(SWEEP, **changes))  # type: ignore[arg-type]
