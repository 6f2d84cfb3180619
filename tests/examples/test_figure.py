"""The README's picture: what it was drawn from keeps the project's promise, and it shows just that."""

from pathlib import Path

import pytest

from examples import figure
from lab.kernel import KERNELS
from sldtrace.reporters import axis
from sldtrace.vmm import swept
from sldtrace.vmm.swept import Sweep

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "docs" / "figure"
MS = 1_000_000


def measured(kernel: str) -> Sweep:
    return swept.load(FOLDER / f"{kernel}.json")


@pytest.mark.parametrize("kernel", figure.KERNELS)
def test_progress_begins_after_the_penalty(kernel: str) -> None:
    sweep = measured(kernel)
    dead, alive = KERNELS[kernel].no_progress_ms, KERNELS[kernel].progress_ms
    assert (sweep.release.startswith(f"{kernel}."), sweep.whole, sweep.mode) == (True, True, "warn")
    penalized = {point.timeout_ns: point.loops for point in sweep.points if point.mitigate == 1}
    assert {dead * MS, alive * MS} <= set(penalized)
    assert all(loops == 0 for timeout, loops in penalized.items() if timeout <= dead * MS)
    assert all(loops > 0 for timeout, loops in penalized.items() if timeout >= alive * MS)
    free = {point.timeout_ns: point.loops for point in sweep.points if point.mitigate == 0}
    assert set(free) == set(penalized)
    assert all(free.values())


def test_the_picture_shows_these_points_and_the_readme_their_kernels() -> None:
    picture, readme = (FOLDER / "sweep.svg").read_text(), (REPOSITORY / "README.md").read_text()
    for kernel in figure.KERNELS:
        sweep = measured(kernel)
        assert sweep.release in readme
        assert f"Linux {sweep.release}" in picture
        for point in sweep.points:
            rate = axis.short(point.rate)
            assert f"{point.timeout_ns / MS:g} ms: {point.loops:,} loops, {rate}/s" in picture
    assert picture.count("<title>") == 1 + sum(len(measured(kernel).points) for kernel in figure.KERNELS)
