"""The line of characters that shows when a thread was held up."""

from pathlib import Path

from sldtrace.analyzers.findings import catalogue
from sldtrace.reporters import lanes
from sldtrace.reporters.groups import grouped
from tests.analyzers.synthetic import MS, VCPU, completed, loop, trace


def made(tmp_path: Path, rows: list[dict[str, int]]) -> dict[str, str]:
    recorded = trace(tmp_path, rows)  # of 10 s: 167 ms a character
    return dict(lanes.build(recorded, grouped(catalogue.run(recorded))[0]).lanes)


def test_a_loop_is_where_it_was(tmp_path: Path) -> None:
    lane = made(tmp_path, loop(2000))["vCPU 0"]
    assert lane == "#" * 12 + "." * 48


def test_progress_between_two_loops_is_shown(tmp_path: Path) -> None:
    rows = [*loop(1000), *(completed(1000 * MS + n * 40 * MS) for n in range(100)), *loop(1000, 6000 * MS)]
    lane = made(tmp_path, rows)["vCPU 0"]
    assert lane[:5] == "#####"
    assert set(lane[8:30]) == {"+"}
    assert lane[38:41] == "###"


def test_each_thread_has_one_in_order(tmp_path: Path) -> None:
    rows = [row | {"tid": VCPU + 9 - n, "vcpu": n} for n in (11, 2) for row in loop(200)]
    assert list(made(tmp_path, rows)) == ["vCPU 2", "vCPU 11"]
