"""`sldtrace simulate`: a recording that says what it is, in every report of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sldtrace import cli
from sldtrace.analyzers.findings import catalogue
from sldtrace.commands.report import report
from sldtrace.commands.simulate import simulate
from sldtrace.dataset import trace
from sldtrace.dataset.trace import Trace
from sldtrace.errors import UsageError
from tests.analyzers.shorthands import loops_of, signal_of


def run(folder: Path, *options: str) -> Trace:
    path = folder / "made.sld"
    result = CliRunner().invoke(simulate, ["-f", "-o", str(path), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return trace.load(path)


def refused(folder: Path, *options: str) -> str:
    result = CliRunner().invoke(simulate, ["-o", str(folder / "made.sld"), *options])
    assert not (folder / "made.sld").exists()
    if isinstance(result.exception, UsageError):
        assert "\n" not in str(result.exception)
        return str(result.exception)
    assert result.exit_code == 2
    return result.output


def reported(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(report, [str(folder / "made.sld"), *options], catch_exceptions=False)


def test_exits_by_bus_locks(tmp_path: Path) -> None:
    """Each takes its spacing in the guest and its time in the VMM; the last second is not a whole one."""
    options = ("--mode", "off", "--bus-lock-exits", "--spacing", "1ms", "--outside", "250us")
    recorded = run(tmp_path, *options, "--vcpus", "2", "-d", "2500ms")
    (finding, other) = catalogue.run(recorded)
    assert (finding.kind, other.kind) == ("bus-lock", "bus-lock")
    assert finding.numbers.bus_locks == 800 + 800 + 400
    assert finding.numbers.share == pytest.approx(0.2)
    assert recorded.exit_counts["guest_ns"].to_list() == [2_000_000_000] * 2
    assert "bus lock" in json.loads(reported(tmp_path, "--format=json").output)["findings"][0]["headline"]


@pytest.mark.parametrize("options", [["--mode", "warn"], ["--mode", "fatal"], ["--mode", "off", "--program"]])
def test_bus_lock_exits_of_those_whose_split_locks_do_not_trap(options: list[str], tmp_path: Path) -> None:
    assert "--mode off" in refused(tmp_path, "--bus-lock-exits", *options)


@pytest.mark.parametrize("options", [("--timer", "1ms"), ("--timer", "none"), ("--mode", "off")])
def test_every_report_begins_with_simulated(options: tuple[str, ...], tmp_path: Path) -> None:
    run(tmp_path, *options, "-d", "1s")
    assert reported(tmp_path).output.startswith("SIMULATED")
    assert reported(tmp_path, "--what-if", "timer=20ms").output.startswith("SIMULATED")
    assert json.loads(reported(tmp_path, "--format=json").output)["simulated"] is True
    assert (
        json.loads(reported(tmp_path, "--format=json", "--what-if", "timer=20ms").output)["simulated"] is True
    )


def test_no_kernel_log_belongs_to_it(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path, "-d", "1s")
    (tmp_path / "log").write_text("")
    with pytest.raises(SystemExit) as ended:
        cli.run(["log", "--recording", str(tmp_path / "made.sld"), str(tmp_path / "log")])
    assert ended.value.code == 1
    assert "is simulated" in capsys.readouterr().err


def test_a_default_simulation_is_a_livelock(tmp_path: Path) -> None:
    made = run(tmp_path, "-d", "2s")
    assert made.recording.warnings == []
    (finding,) = loops_of(made)
    assert finding.verdict == "livelock"
    assert finding.numbers.progress.exits == made.traps["exits"].iloc[1:].sum()
    assert signal_of(finding.numbers).period_ns == pytest.approx(1e6, rel=0.05)
    assert made.facts["simulated"]["timer"] == 1_000_000


def test_the_other_remedies_work_on_it(tmp_path: Path) -> None:
    for options in (("--timer", "20ms"), ("--mitigate", "0"), ("--timer", "none")):
        assert loops_of(run(tmp_path, "-d", "2s", *options)) == []


def test_records_agree_with_each_other(tmp_path: Path) -> None:
    options = ("--vcpus", "3", "--cpus", "4", "--timer", "30ms", "--migrate", "50ms")
    made = run(tmp_path, "-d", "4s", "--exits", *options)
    records = made.recording.records
    traps, exits, returns = made.traps, records("exit"), records("user_exit")
    for tid in traps["tid"].unique():
        mine = traps[traps["tid"] == tid]
        until = int(mine["start_ns"].iloc[-1])
        before = exits[(exits["tid"] == tid) & (exits["ns"] <= until)]
        assert len(before) == mine["exits"].sum()
        assert before["guest_ns"].sum() == mine["guest_ns"].sum()
        split = before[before["reason"] == 0]
        assert split["ns"].tolist() == mine["start_ns"].tolist()
        back = returns[(returns["tid"] == tid) & (returns["ns"] <= until)]
        assert abs(len(back) - int((before["flags"] & 1 > 0).sum())) <= 1
    ended = traps[traps["signal"] > 0]
    assert set(ended["signal_ns"]) < set(records("signal")["ns"])
    off = records("detection")[records("detection")["value"] == 0]
    assert len(off) == traps["msr_cleared"].sum()
    moved = traps["start_cpu"] != traps["end_cpu"]
    assert moved.any()
    assert len(records("migrate")) == pytest.approx(3 * 4 / 0.05, rel=0.05)


def test_programs_have_no_vcpu(tmp_path: Path) -> None:
    made = run(tmp_path, "--program", "-d", "1s")
    assert made.traps["vcpu"].isna().all()
    assert not made.traps["guest"].any()
    (finding,) = loops_of(made)
    assert not finding.numbers.guest


def test_fatal_is_one_trap_that_was_not_handled(tmp_path: Path) -> None:
    made = run(tmp_path, "--mode", "fatal", "-d", "1s")
    assert made.traps["fatal"].tolist() == [True]
    assert not made.traps["warned"].any()


def test_the_same_options_give_the_same_records(tmp_path: Path) -> None:
    options = ("-d", "1s", "--jitter", "50us")
    first = run(tmp_path, *options).traps
    assert first.equals(run(tmp_path, *options).traps)
    assert not first.equals(run(tmp_path, *options, "--seed", "1").traps)


def test_a_signal_to_the_process(tmp_path: Path) -> None:
    made = run(tmp_path, "--to-process", "--source", "periodic", "--vcpus", "2", "--cpus", "2", "-d", "1s")
    ended = made.traps[made.traps["signal"] > 0]
    assert ended["signal_group"].all()
    assert set(made.recording.records("signal")["tid"]) == {0}


@pytest.mark.parametrize(
    "options",
    [
        ("--kernel", "six"),
        ("--kernel", "6.12\n"),
        ("--mode", "ratelimit:0"),
        ("--mode", "on"),
        ("--to-process",),
        ("--timer", "1us"),
        ("--timer", "-1ms"),
        ("--vcpus", "0"),
        ("--hz", "123"),
        ("--duration", "0"),
        ("--mitigate", "2"),
    ],
)
def test_what_cannot_be_simulated(options: tuple[str, ...], tmp_path: Path) -> None:
    assert refused(tmp_path, *options)


def test_it_does_not_overwrite(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        cli.run(["simulate", "-o", str(tmp_path / "mine")])
    assert ended.value.code == 1
    assert "exists; use --force" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "mine"
