"""The observer does not cause the symptom: what benchmarks/observer.py asks of sldtrace, in the lab."""

import pytest

from benchmarks.observers import outcome, verdict
from tests.benchmarks.cost_in_lab import PLAN
from tests.conftest import Scenario

pytestmark = pytest.mark.lab


def test_sldtrace_costs_guests_no_more_than_it_may(cost: Scenario) -> None:
    checks = verdict.judge(outcome.of(PLAN, cost.protocol))
    assert [check.text for check in checks if not check.holds] == []


@pytest.mark.parametrize(
    "words", ["cpuid guest keeps", "io guest keeps", "EINTR rate", "livelock stays", "survivor"]
)
def test_every_guest_was_looked_at(cost: Scenario, words: str) -> None:
    checks = verdict.judge(outcome.of(PLAN, cost.protocol))
    assert any(words in check.text and "sldtrace record" in check.text for check in checks)


def test_counting_every_exit_was_looked_at(cost: Scenario) -> None:
    checks = verdict.judge(outcome.of(PLAN, cost.protocol))
    assert any("added to an exit-entry pair" in check.text for check in checks)
