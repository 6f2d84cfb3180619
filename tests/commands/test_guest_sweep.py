"""`sldtrace guest sweep`: its forms, and what it refuses."""

import csv
import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sldtrace.commands.guest import guest
from sldtrace.errors import UsageError
from sldtrace.vmm import sweep
from sldtrace.vmm.kicks import Kind
from sldtrace.vmm.plan import Plan

ORDERS: list[tuple[Plan, tuple[int, ...], list[int | None]]] = []
MS = 1_000_000


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No guest is run: none makes progress below 9 ms; a timeout of 40 ms is interrupted."""
    ORDERS.clear()

    def run(plan: Plan, timeouts: tuple[int, ...], mitigates: list[int | None], tell: Any) -> bool:
        ORDERS.append((plan, timeouts, mitigates))
        for value in mitigates:
            for timeout in timeouts:
                if timeout == 40 * MS:
                    return False
                loops = 0 if timeout < 9 * MS else timeout // MS * 100
                tell(sweep.Point(value, timeout, loops, 7, 6, 100 * MS))
        return True

    monkeypatch.setattr(sweep, "run", run)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(guest, ["sweep", *arguments])


def test_table_shows_where_progress_begins() -> None:
    result = invoke("--timeouts", "8ms,10ms,20ms")
    assert result.exit_code == 0
    head, dead, slow, fast, _meaning = result.stdout.splitlines()
    assert head.split() == ["mitigate", "timeout", "KVM_RUN", "loops", "loops/s"]
    assert dead.split() == ["-", "8ms", "7", "0", "0", "none"]
    assert slow.split() == ["-", "10ms", "7", "1,000", "10,000", "#" * 15]
    assert fast.split() == ["-", "20ms", "7", "2,000", "20,000", "#" * 30]
    assert {line.index("ms ") for line in (dead, slow, fast)} == {dead.index("ms ")}


def test_what_is_asked_for_is_run() -> None:
    assert invoke("--mitigate", "both", "--kick", "itimer", "--duration", "1s").exit_code == 0
    ((plan, timeouts, mitigates),) = ORDERS
    assert (plan.kick, plan.signo, plan.duration_ns) == (Kind.ITIMER, 14, 1000 * MS)
    assert mitigates == [1, 0]
    assert {ms * MS for ms in range(7, 19)} < set(timeouts)
    for value in (0, 1):
        invoke("--mitigate", str(value))
        assert ORDERS[-1][2] == [value]
    invoke()
    assert ORDERS[-1][2] == [None]


def test_forms_for_programs() -> None:
    said = json.loads(invoke("--timeouts", "8ms,0.02", "--json").stdout)
    assert (said["guest"], said["whole"]) == ("split-bts", True)
    assert [(point["timeout_ns"], point["loops"]) for point in said["points"]] == [
        (8 * MS, 0),
        (20 * MS, 2000),
    ]
    rows = list(csv.DictReader(invoke("--timeouts", "20ms", "--mitigate", "0", "--csv").stdout.splitlines()))
    assert rows == [
        {
            "mitigate": "0",
            "timeout_ns": "20000000",
            "loops": "2000",
            "kvm_runs": "7",
            "eintr": "6",
            "ran_ns": "100000000",
        }
    ]


def test_an_interrupted_sweep_says_so_and_shows_what_it_has() -> None:
    result = invoke("--timeouts", "20ms,40ms")
    assert "20ms" in result.stdout
    assert "interrupted after 1 of 2 runs" in result.stderr
    assert json.loads(invoke("--timeouts", "20ms,40ms", "--json").stdout)["whole"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--timeouts 1ms,0", "'0ns' is not between"),
        ("--timeouts 1ms,,2ms", "'' is not a length of time"),
        ("--timeouts 2h", "is not between"),
        ("--mitigate 2", "'2' is not one of"),
    ],
)
def test_usage(arguments: str, words: str) -> None:
    result = invoke(*arguments.split())
    assert result.exit_code == 2
    assert words in result.output
    assert ORDERS == []


def test_one_form_at_a_time() -> None:
    assert isinstance(invoke("--json", "--csv").exception, UsageError)
