"""A recording played as if it happened now: the same numbers as the report's, whatever the speed."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sldtrace.analyzers.findings import catalogue
from sldtrace.commands.simulate import simulate
from sldtrace.commands.top import top
from sldtrace.dataset import folding
from sldtrace.dataset import trace as traces
from sldtrace.errors import UsageError
from sldtrace.top import replay
from tests.analyzers.shorthands import loops_of, subject_of
from tests.analyzers.synthetic import START_NS, loop, write

RECORDINGS = sorted((Path(__file__).parent.parent / "reporters" / "recordings").glob("*.sld"))


def play(*arguments: object) -> Result:
    return CliRunner().invoke(top, ["--speed", "max", *map(str, arguments)], catch_exceptions=False)


def looks(*arguments: object) -> list[dict[str, Any]]:
    result = play("--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("top") / "a.sld"
    options = ["--vcpus", "3", "--cpus", "3", "--timer", "1ms", "-d", "5s", "-o", str(path)]
    assert CliRunner().invoke(simulate, options).exit_code == 0
    return path


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_at_the_end_the_numbers_are_those_of_the_report(path: Path) -> None:
    trace = traces.load(path)
    folded = folding.fold(trace)
    found = {(row["tgid"], row["tid"]): row for row in looks(path)[-1]["threads"]}
    assert len(found) == len(folded.numbers)
    for tgid, tid, sums in zip(folded.numbers.tgid, folded.numbers.tid, folded.threads.sums, strict=True):
        row = found[int(tgid), int(tid)]
        for name in ("traps", "early_returns", "completed", "not_penalized", "fatal"):
            assert row[name] == sums[name], name
        assert row["penalty_ns"] == sums["slept_ns"] + sums["waited_ns"]


def test_the_livelock_is_that_of_the_report_and_its_rate_that_of_its_timer(simulated: Path) -> None:
    found = looks(simulated)
    loops = loops_of(traces.load(simulated))
    assert [each.verdict for each in loops] == ["livelock"] * 3
    for look in found[1:-1]:
        (vm,) = look["vms"]
        assert (vm["verdict"], vm["livelocked"], vm["threads"]) == ("livelock", 3, 3)
        assert vm["traps_per_s"] == pytest.approx(3 * 987, rel=0.02)
        assert vm["traps_per_s"] == vm["early_returns_per_s"]
    assert {subject_of(each).tid for each in loops} == {row["tid"] for row in found[-1]["threads"]}
    assert {row["loop_since_ns"] for row in found[-1]["threads"]} == {each.start_ns for each in loops}


def test_what_completes_its_penalties_gets_past_the_instruction(tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    CliRunner().invoke(simulate, ["--timer", "none", "-d", "5s", "-o", str(path)])
    assert not [each for each in catalogue.run(traces.load(path)) if each.kind == "early-return-loop"]
    for look in looks(path)[1:-1]:
        (row,) = look["threads"]
        assert (row["verdict"], row["loop_since_ns"]) == ("penalized", 0)
        assert row["detection_off_per_s"] == row["traps_per_s"] > 0


@pytest.mark.parametrize(("delay", "count"), [("1s", 5), ("2s", 3), ("500ms", 10)])
def test_the_interval_is_one_of_the_recording(simulated: Path, delay: str, count: int) -> None:
    times = [look["ns"] for look in looks(simulated, "-d", delay)]
    assert abs(len(times) - count) <= 1
    assert len(looks(simulated, "-d", delay, "-n", 2)) == 2


def test_other_vms_are_not_shown(simulated: Path) -> None:
    assert looks(simulated, "--vm", "nothing-like-it")[-1]["threads"] == []
    assert "no split-lock trap so far" in play(simulated, "--vm", "nothing-like-it").stdout


def test_the_table_fits_and_names_the_livelock(simulated: Path) -> None:
    text = play(simulated, "--utc", "-n", 3).stdout
    assert max(map(len, text.splitlines())) <= 120
    assert "LIVELOCK: simulated (PID 1000): 3 of 3 threads at 0x4018 since " in text
    assert text.count("sldtrace top") == 3


@pytest.mark.parametrize("speed", ["fast", "0", "-1", "inf", "nan", ""])
def test_a_speed_that_is_none_is_refused(simulated: Path, speed: str) -> None:
    with pytest.raises(UsageError, match="is not a factor"):
        CliRunner().invoke(top, ["--speed", speed, str(simulated)], catch_exceptions=False)


def test_what_is_for_one_of_the_two_is_refused_for_the_other(simulated: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="-o is for this host"):
        play(simulated, "-o", tmp_path / "b.sld")
    with pytest.raises(UsageError, match="--speed is for a recording"):
        play()


def test_hours_without_a_record_are_left_out(tmp_path: Path) -> None:
    """A forged recording may claim to have lasted for a century."""
    century, gap = 100 * 365 * 86_400 * 10**9, 3 * replay.LONGEST_PAUSE_NS
    rows = [*loop(5), *loop(5, gap)]
    ended = {"clock": {"monotonic_ns": century, "realtime_ns": 0}, "seen": {"trap": 10}}
    found = looks(write(tmp_path / "a.sld", rows, ended=ended))
    assert len(found) < 10
    assert [row["traps"] for row in found[-1]["threads"]] == [10]


def test_bus_locks_of_a_program_have_a_row(tmp_path: Path) -> None:
    """With its sums, and a rate while they come."""
    second = 1_000_000_000
    locks = [
        {"ns": START_NS + at * second, "since_ns": START_NS + (at - 1) * second, "tgid": 9, "tid": 9}
        | {"rip": 0x401000, "count": 50, "handler_ns": 5}
        for at in range(1, 9)
    ]
    found = [
        row for look in looks(write(tmp_path / "a.sld", more={"bus_lock": locks})) for row in look["vms"]
    ]
    assert {(row["tgid"], row["guest"], row["traps"], row["rip"]) for row in found} == {
        (9, False, 0, "0x401000")
    }
    assert found[-1]["bus_locks"] == 400
    assert any(row["bus_locks_per_s"] > 0 and row["verdict"] == "bus locks" for row in found)
