"""The negative control: make test-vmm, or SLDTRACE_VMMS=1 pytest with this file; it ran by fixes.py.

The same kernel with a penalty that was changed: the livelock is gone with each candidate fix, and nothing but
the bug is called a livelock. fixes_page.py makes the table of docs/the-bug.md from it.
"""

import os
from typing import Any

import pytest

from lab.kernel import KERNELS
from sldtrace.analyzers import limitations
from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.accounts import incomplete
from sldtrace.dataset.trace import Trace, load
from sldtrace.host import livepatch
from tests.conftest import Scenario
from tests.integration.fixes import COPY, FIXES, MANY, NAME, REMOVED, UNPATCHED
from tests.integration.fixes_truth import Truth, findings_of, predicted, truth

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif("SLDTRACE_VMMS" not in os.environ, reason="takes long: make test-vmm"),
]

REPLACED = livepatch.sentence({"split_lock_warn": [NAME]})


@pytest.fixture(scope="module")
def recorded(fixes: Scenario) -> Trace:
    return load(fixes.folder / "fixes.sld")


@pytest.fixture(scope="module")
def found(recorded: Trace) -> list[Finding[Any]]:
    return catalogue.run(recorded)


@pytest.fixture(scope="module")
def truths(fixes: Scenario) -> dict[str, Truth]:
    return {name: truth(case, fixes.folder) for name, case in fixes.protocol["cases"].items()}


def test_the_recording_is_whole_and_says_that_the_function_is_replaced(
    fixes: Scenario, recorded: Trace
) -> None:
    assert fixes.protocol["status"] == 0, fixes.protocol["stderr"]
    assert (recorded.recording.warnings, recorded.recording.losses) == ([], [])
    assert any(REPLACED in line for line in fixes.protocol["stderr"])
    assert any(REPLACED in each for each in limitations.sentences(recorded))
    assert incomplete(recorded)
    assert fixes.protocol["left"]["after"] == fixes.protocol["left"]["before"]


@pytest.mark.parametrize("name", [UNPATCHED, COPY, REMOVED])
def test_with_the_kernels_own_penalty_there_is_no_progress(truths: dict[str, Truth], name: str) -> None:
    """So it is not the live patch that helps."""
    one = truths[name]
    assert (one.loops, one.completed) == ([0], 0)
    assert one.traps > 100


def test_that_is_called_a_livelock(fixes: Scenario, found: list[Finding[Any]]) -> None:
    (finding,) = findings_of(fixes.protocol["cases"][COPY], found)
    assert (finding.kind, finding.verdict) == ("early-return-loop", "livelock")


@pytest.mark.parametrize("vms", ["", f" x{MANY}"])
@pytest.mark.parametrize("fix", FIXES)
def test_with_a_fix_each_guest_makes_progress(truths: dict[str, Truth], fix: str, vms: str) -> None:
    one = truths[fix + vms]
    assert all(loops > 0 for loops in one.loops)
    assert one.completed > len(one.loops)


@pytest.mark.parametrize("vms", ["", f" x{MANY}"])
@pytest.mark.parametrize("fix", FIXES)
def test_that_is_not_called_a_livelock(
    fixes: Scenario, found: list[Finding[Any]], fix: str, vms: str
) -> None:
    assert "livelock" not in {each.verdict for each in findings_of(fixes.protocol["cases"][fix + vms], found)}


def test_the_penalty_remains_but_not_where_early_returns_are_counted(
    fixes: Scenario, truths: dict[str, Truth]
) -> None:
    """Jiffies that were slept count as if they were whole, so one may be missing."""
    kernel = KERNELS[fixes.kernel]
    shortest = (kernel.sleep_jiffies - 1) * kernel.tick_ns / 1e9
    assert truths["uninterruptible"].penalty_s > shortest
    assert truths["remaining"].penalty_s > shortest
    assert truths["early-returns:3"].penalty_s < shortest


def test_an_uninterruptible_sleep_delays_the_signals_and_a_queue_of_them_more(
    truths: dict[str, Truth],
) -> None:
    late = {name: one.delay_s[1] for name, one in truths.items()}
    assert late["remaining"] < late["uninterruptible"]
    assert late["early-returns:3"] < late["uninterruptible"]
    assert late["uninterruptible"] < late[f"uninterruptible x{MANY}"]


@pytest.mark.parametrize("fix", FIXES)
def test_what_if_predicts_it(fixes: Scenario, recorded: Trace, truths: dict[str, Truth], fix: str) -> None:
    prediction, one = predicted(fixes.protocol["cases"], recorded, fix), truths[fix]
    assert prediction.progress == "yes"
    assert prediction.detection_off_per_s == pytest.approx(one.completed / one.seconds, rel=0.2)
