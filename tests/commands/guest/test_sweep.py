"""`sldtrace guest sweep` and `guest plot`: their forms, and what they refuse."""

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sldtrace.commands.guest import guest
from sldtrace.errors import SldtraceError, UsageError
from sldtrace.host import kernel, split_lock
from sldtrace.host.split_lock import SplitLock
from sldtrace.reporters import sweep_data, sweep_png
from sldtrace.vmm import sweep
from sldtrace.vmm.kicks import Kind
from sldtrace.vmm.plan import Plan
from sldtrace.vmm.swept import Point

ORDERS: list[tuple[Plan, tuple[int, ...], list[int | None]]] = []
MS = 1_000_000


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No guest is run: none makes progress below 9 ms; a timeout of 40 ms is interrupted. The host traps."""
    ORDERS.clear()

    def run(plan: Plan, timeouts: tuple[int, ...], mitigates: list[int | None], tell: Any) -> bool:
        ORDERS.append((plan, timeouts, mitigates))
        for value in mitigates:
            for timeout in timeouts:
                if timeout == 40 * MS:
                    return False
                loops = 0 if timeout < 9 * MS and value != 0 else 1000
                runs = 100 * MS // timeout
                tell(Point(1 if value is None else value, timeout, loops, runs, 6, 100 * MS))
        return True

    monkeypatch.setattr(sweep, "run", run)
    monkeypatch.setattr(sweep_data, "_LINE_POINTS", 24)  # each is a simulation
    monkeypatch.setattr(split_lock, "read", lambda: SplitLock("warn", True, False, 1))
    monkeypatch.setattr(kernel, "release", lambda: "6.12.7-test")
    monkeypatch.setattr(kernel, "tick_ns", lambda: 4 * MS)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(guest, list(arguments))


def test_table_and_plot_show_where_progress_begins() -> None:
    result = invoke("sweep", "--timeouts", "8ms,20ms,25ms")
    assert result.exit_code == 0
    head, _rule, dead, fast, *rest = result.stdout.splitlines()
    assert head.split() == ["mitigate", "timer", "KVM_RUN", "loops", "loops/s", "model"]
    assert dead.split() == ["1", "8ms", "12", "0", "none", "none"]
    assert fast.split()[:5] == ["1", "20ms", "5", "1,000", "10,000"]
    assert float(fast.split()[5].replace(",", "")) == pytest.approx(10_000, rel=0.2)
    assert "Linux 6.12.7-test: loops finished a second, by the period of the timer (ms)" in rest
    assert sum("○" in line for line in rest) == 2  # the point, and the legend
    assert "this host traps split locks" in rest[-1]


def test_what_is_asked_for_is_run() -> None:
    assert invoke("sweep", "--mitigate", "both", "--kick", "itimer", "--duration", "1s").exit_code == 1
    ((plan, timeouts, mitigates),) = ORDERS
    assert (plan.kick, plan.signo, plan.duration_ns) == (Kind.ITIMER, 14, 1000 * MS)
    assert mitigates == [1, 0]
    assert {ms * MS for ms in range(7, 19)} < set(timeouts)
    for value in (0, 1):
        invoke("sweep", "--timeouts", "1ms", "--mitigate", str(value))
        assert ORDERS[-1][2] == [value]
    invoke("sweep", "--timeouts", "1ms")
    assert ORDERS[-1][2] == [None]


def test_forms_for_programs() -> None:
    said = json.loads(invoke("sweep", "--timeouts", "8ms,0.02", "--format=json").stdout)
    assert (said["guest"], said["whole"], said["release"]) == ("split-bts", True, "6.12.7-test")
    assert [(point["timeout_ns"], point["loops"]) for point in said["points"]] == [
        (8 * MS, 0),
        (20 * MS, 1000),
    ]
    arguments = ["sweep", "--timeouts", "20ms", "--mitigate", "0", "--format=csv"]
    (row,) = csv.DictReader(invoke(*arguments).stdout.splitlines())
    model = row.pop("model_loops_per_s")
    assert float(model) == pytest.approx(10_000, rel=0.01)  # the one point that the speed is known by
    assert row == {
        "mitigate": "0",
        "timeout_ns": "20000000",
        "loops": "1000",
        "kvm_runs": "5",
        "eintr": "6",
        "ran_ns": "100000000",
    }


def test_an_interrupted_sweep_says_so_and_shows_what_it_has() -> None:
    result = invoke("sweep", "--timeouts", "20ms,40ms")
    assert "20ms" in result.stdout
    assert "interrupted after 1 of 2 runs" in result.stderr
    assert json.loads(invoke("sweep", "--timeouts", "20ms,40ms", "--format=json").stdout)["whole"] is False
    nothing = invoke("sweep", "--timeouts", "40ms")
    assert nothing.stdout == ""
    # By KeyboardInterrupt, of which sldtrace.cli makes SIGINT.
    assert re.search("interrupted after 0 of 1 runs\n.*Aborted!\n$", nothing.stderr, re.DOTALL)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.json"
    path.write_text(
        invoke("sweep", "--timeouts", "1ms,8ms,20ms", "--mitigate", "both", "--format=json").stdout
    )
    return path


def test_a_sweep_that_was_kept_is_plotted_as_when_it_was_measured(kept: Path) -> None:
    direct = invoke("sweep", "--timeouts", "1ms,8ms,20ms", "--mitigate", "both").stdout
    plotted = invoke("plot", str(kept)).stdout
    assert len(plotted.splitlines()) > 15
    assert plotted in direct
    assert invoke("plot", str(kept), str(kept)).stdout == f"{plotted}\n{plotted}"


def test_pictures_are_whole_files(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_png, "render", lambda svg: b"PNG of " + svg.encode()[:4])
    svg, png = tmp_path / "a.svg", tmp_path / "b.PNG"
    result = invoke("plot", str(kept), str(kept), "--figure", str(svg), "--figure", str(png))
    assert result.exit_code == 0, result.output
    assert svg.read_text().count("Linux 6.12.7-test") == 2
    assert png.read_bytes() == b"PNG of <svg"
    assert {path.name for path in tmp_path.iterdir()} == {"a.svg", "b.PNG", "sweep.json"}
    measured = tmp_path / "c.svg"
    assert invoke("sweep", "--timeouts", "1ms,20ms", "--figure", str(measured)).exit_code == 0
    assert measured.read_text().startswith("<svg ")
    gone = tmp_path / "gone" / "a.svg"
    assert "cannot be written: No such file" in str(
        invoke("plot", str(kept), "--figure", str(gone)).exception
    )


def test_what_cannot_be_written_is_said_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)  # not installed
    taken = tmp_path / "a-file"
    taken.touch()
    for path, words in (
        (tmp_path / "gone" / "a.svg", "a.svg cannot be written: No such file"),
        (taken / "a.svg", "a.svg cannot be written: Not a directory"),
        (tmp_path / "a.png", "a PNG needs the Python module resvg_py"),
    ):
        result = invoke("sweep", "--timeouts", "1ms", "--figure", str(path))
        assert words in str(result.exception)
    assert ORDERS == []
    assert [path.name for path in tmp_path.iterdir()] == ["a-file"]


def test_a_sweep_of_days_is_refused() -> None:
    timeouts = ",".join(["1ms"] * 13)
    result = invoke("sweep", "--timeouts", timeouts, "--duration", "1h", "--mitigate", "both")
    assert isinstance(result.exception, UsageError)
    assert "26 runs would take longer than 24 h" in str(result.exception)
    assert ORDERS == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        '{"points": 3}',
        '{"points": []}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_a_file_that_is_no_sweep_is_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content, encoding="latin-1")
    error = invoke("plot", str(path)).exception
    assert isinstance(error, SldtraceError)
    assert str(error) == f"{path} is not a sweep; give the output of sldtrace guest sweep --format json"


@pytest.mark.parametrize(
    ("name", "value"),
    [("tick_ns", 0), ("tick_ns", "4"), ("duration_ns", -1), ("kick", "foot"), ("release", 6), ("points", {})],
)
def test_a_sweep_with_a_wrong_value_is_refused(name: str, value: object, kept: Path) -> None:
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {name: value}))
    assert "is not a sweep" in str(invoke("plot", str(kept)).exception)


@pytest.mark.parametrize(
    ("name", "value"), [("timeout_ns", 0), ("ran_ns", 0), ("loops", 1.5), ("mitigate", "x")]
)
def test_a_point_with_a_wrong_value_is_refused(name: str, value: object, kept: Path) -> None:
    content = json.loads(kept.read_text())
    content["points"][0][name] = value
    kept.write_text(json.dumps(content))
    assert "is not a sweep" in str(invoke("plot", str(kept)).exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("sweep --timeouts 1ms,0", "'0' is not between"),
        ("sweep --timeouts 1ms,,2ms", "'' is not a length of time"),
        ("sweep --timeouts 2h", "is not between"),
        ("sweep --mitigate 2", "'2' is not one of"),
        ("sweep --figure a.pdf", "ends neither in .svg nor in .png"),
        ("plot", "Missing argument"),
    ],
)
def test_usage(arguments: str, words: str) -> None:
    result = invoke(*arguments.split())
    assert result.exit_code == 2
    assert words in result.output
    assert ORDERS == []
