"""What the recording costs, on a clock of its own: measured for a while, then reckoned by the exits."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from sldtrace.capture import cost
from sldtrace.capture.bpf import syscalls
from sldtrace.capture.bpf.syscalls import Runs
from sldtrace.capture.cost import Cost

SECOND = 1_000_000_000
MS = 1_000_000


class World:
    """The clocks, and what the kernel has counted."""

    def __init__(self) -> None:
        self.now, self.cpu, self.run, self.exits = 1000 * SECOND, 5 * SECOND, 7 * MS, 0
        self.stats: list[int] = []
        self.allowed = True

    def enable(self) -> int:
        if not self.allowed:
            raise PermissionError(1, "Operation not permitted")
        self.stats.append(os.memfd_create("stats"))
        return self.stats[-1]

    def timed(self) -> bool:
        """Does the kernel time programs now?"""
        try:
            os.fstat(self.stats[-1])
        except (OSError, IndexError):
            return False
        return True

    def each_second(
        self, made: Cost, cpu: int = 0, run: int = 0, exits: int = 0, armed: bool = True
    ) -> float:
        """A second in which so much was spent (ns); the kernel counts runs while it times them."""
        self.now, self.cpu, self.exits = self.now + SECOND, self.cpu + cpu, self.exits + exits
        if self.timed() or cost._read_flag(cost._ENABLED):
            self.run += run
        half = self.run // 2
        return made.each_second({"a": Runs(half, 0), "b": Runs(self.run - half, 3)}, self.exits, armed)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    made = World()
    made.run = 0
    clocks = SimpleNamespace(monotonic_ns=lambda: made.now, process_time_ns=lambda: made.cpu)
    monkeypatch.setattr(cost, "time", clocks)
    monkeypatch.setattr(cost, "_ENABLED", tmp_path / "bpf_stats_enabled")
    monkeypatch.setattr(syscalls, "enable_stats", made.enable)
    return made


def test_recorder_and_probes_are_added_up(world: World) -> None:
    made = Cost()
    assert world.each_second(made, cpu=20 * MS, run=30 * MS, exits=10, armed=False) == pytest.approx(5.0)
    assert world.each_second(made, cpu=10 * MS, armed=False) == pytest.approx(1.0)
    fact = made.fact()
    assert (fact["elapsed_ns"], fact["recorder_cpu_ns"], fact["probes_ns"]) == (2 * SECOND, 30 * MS, 30 * MS)
    assert fact["measured_ns"] == 2 * SECOND
    made.close()


def test_it_is_measured_until_there_is_something_to_reckon_by(world: World) -> None:
    """Armed on a host whose VMs are idle: the few exits there tell nothing of the cost of one."""
    made = Cost()
    for exits in (0, 0, 499, 0):
        world.each_second(made, run=1 * MS, exits=exits)
        assert world.timed()
    world.each_second(made, run=46 * MS, exits=1)
    assert not world.timed()
    assert world.each_second(made, exits=1000) == pytest.approx(10.0)  # of 50 ms, 500 exits
    assert made.fact()["measured_ns"] == 5 * SECOND


def test_after_a_second_armed_it_is_reckoned_by_exits(world: World) -> None:
    made = Cost()
    for _ in range(5):
        world.each_second(made, run=1 * MS, armed=False)
    assert world.timed()
    assert world.each_second(made, run=50 * MS, exits=1000) == pytest.approx(5.0)
    assert not world.timed()
    # 50 microseconds an exit; what the others took before, in whatever time, is none of theirs.
    assert world.each_second(made, run=99 * MS, exits=2000) == pytest.approx(10.0)
    assert world.each_second(made, exits=0) == 0
    assert made.fact()["measured_ns"] == 6 * SECOND
    assert made.fact()["probes_ns"] == 55 * MS + 2000 * 50_000


def test_what_the_administrator_has_timed_is_measured_to_the_end(world: World) -> None:
    cost._ENABLED.write_text("1\n")
    made = Cost()
    for _ in range(20):
        assert world.each_second(made, run=50 * MS, exits=1000) == pytest.approx(5.0)
    assert made.fact()["measured_ns"] == 20 * SECOND


def test_where_nothing_may_be_timed_it_says_so(world: World) -> None:
    world.allowed = False
    cost._ENABLED.write_text("0\n")
    made = Cost()
    assert world.each_second(made, cpu=10 * MS, exits=1000) == pytest.approx(1.0)
    assert (made.fact()["probes_ns"], made.fact()["measured_ns"]) == (None, 0)
    made.close()


def test_threads_that_end_are_no_negative_exits(world: World) -> None:
    made = Cost()
    for _ in range(10):
        world.each_second(made, run=50 * MS, exits=1000)
    assert world.each_second(made, exits=-9000) == 0


def test_the_kernel_is_let_go_of_once(world: World) -> None:
    made = Cost()
    assert world.timed()
    made.close()
    assert not world.timed()
    made.close()


def test_memory_is_in_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "status").write_text("VmHWM:\t  999 kB\nVmRSS:\t  123 kB\n")
    monkeypatch.setattr(cost, "_STATUS", tmp_path / "status")
    assert cost._memory("VmRSS") == 123 * 1024


def test_memory_is_that_of_this_process() -> None:
    assert 1 << 20 < cost._memory("VmRSS") < 1 << 40
    assert cost._memory("VmNothing") == 0
