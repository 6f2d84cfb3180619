"""A sweep without processes: what runs with what, the sysctl in between, how it ends early."""

import os
import signal
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.vmm import guests, mitigate, sweep
from sldtrace.vmm.plan import Plan, Result, VcpuResult
from sldtrace.vmm.swept import Point

PLAN = Plan(guests.load("split-bts"), 1000)


@pytest.fixture
def sysctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that stands for kernel.split_lock_mitigate."""
    path = tmp_path / "split_lock_mitigate"
    path.write_text("1\n")
    real = mitigate.set_for_block
    monkeypatch.setattr(mitigate, "set_for_block", lambda value: real(value, path))
    return path


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, sysctl: Path) -> list[tuple[int, str]]:
    """Each run's timeout, and the sysctl in it; its loops are its number."""
    made: list[tuple[int, str]] = []

    class Fake:
        during: Callable[[], None] = staticmethod(lambda: None)

        def __init__(self, plans: list[Plan]) -> None:
            (self._plan,) = plans

        def run(self, announce: Any) -> list[Result]:
            made.append((self._plan.timeout_ns, sysctl.read_text().strip()))
            if self._plan.timeout_ns == 666:
                os.kill(os.getpid(), signal.SIGTERM)
            if self._plan.timeout_ns == 13:
                raise SldtraceError("no")
            return [Result(1, 1000, False, 0, (VcpuResult(1, len(made), 3, 2),))]

    monkeypatch.setattr(sweep, "Children", Fake)
    return made


def test_each_timeout_under_each_setting_which_is_put_back(runs: list[tuple[int, str]], sysctl: Path) -> None:
    points: list[Point] = []
    assert sweep.run(PLAN, [5, 7], [1, 0], points.append)
    assert runs == [(5, "1"), (7, "1"), (5, "0"), (7, "0")]
    assert sysctl.read_text() == "1\n"
    assert [astuple(point)[1:] for point in points] == [
        (timeout, number, 3, 2, 1000) for number, timeout in enumerate([5, 7, 5, 7], 1)
    ]


def test_the_sysctl_is_left_alone_unless_asked_for(runs: list[tuple[int, str]], sysctl: Path) -> None:
    sysctl.write_text("0\n")
    sysctl.chmod(0o400)
    assert sweep.run(PLAN, [5], [None], lambda point: None)
    assert runs == [(5, "0")]


def test_a_signal_ends_it_after_the_run_and_the_sysctl_is_put_back(
    runs: list[tuple[int, str]], sysctl: Path
) -> None:
    points: list[Point] = []
    assert not sweep.run(PLAN, [5, 666, 7], [0], points.append)
    assert [timeout for timeout, _ in runs] == [5, 666]
    assert len(points) == 2  # the run that it came in was whole
    assert sysctl.read_text() == "1\n"


def test_a_failure_puts_the_sysctl_back(runs: list[tuple[int, str]], sysctl: Path) -> None:
    with pytest.raises(SldtraceError):
        sweep.run(PLAN, [13], [0], lambda point: None)
    assert sysctl.read_text() == "1\n"


def test_a_kernel_without_the_sysctl_is_one_line(runs: list[tuple[int, str]], sysctl: Path) -> None:
    sysctl.unlink()
    with pytest.raises(SldtraceError, match=r"no kernel\.split_lock_mitigate .*; leave out --mitigate"):
        sweep.run(PLAN, [5], [0], lambda point: None)
    assert runs == []
