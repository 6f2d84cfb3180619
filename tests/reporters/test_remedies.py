"""What to change is listed once, what works at once first, with how it is undone and verified."""

from pathlib import Path

import pytest

from sldtrace.analyzers import endings
from sldtrace.analyzers.findings import catalogue
from sldtrace.model import penalty as penalties
from sldtrace.model.ending import Ending
from sldtrace.reporters import remedies
from sldtrace.reporters.groups import grouped
from tests.analyzers.synthetic import MS, VCPU, VMM, completed, loop, trace
from tests.reporters import cases
from tests.reporters.rendering import text

UNKNOWN = (Ending.SIGNAL, Ending.NOT_READ, Ending.NOTHING_PENDING)


def test_two_findings_share_their_remedies(tmp_path: Path) -> None:
    rows = [*loop(2000), *(completed(n * 40 * MS, tid=VCPU + 1, vcpu=1) for n in range(50))]
    recorded = trace(tmp_path, rows)
    groups = grouped(catalogue.run(recorded))
    assert len(groups) == 2
    listed = remedies.listed(groups)
    assert listed[0].command == "sysctl kernel.split_lock_mitigate=0"
    assert len({each.what for each in listed}) == len(listed) == 4
    assert remedies.references(groups[1], listed).startswith("1, 3, 4 of ")
    assert text(recorded).count("In the guest: align") == 1


@pytest.mark.parametrize("name", cases.CASES)
def test_what_recovers_a_thread_can_be_undone_and_verified_and_nothing_else_can(
    name: str, tmp_path: Path
) -> None:
    for finding in catalogue.run(cases.CASES[name](tmp_path)):
        for each in finding.remedies:
            assert bool(each.verify) == bool(each.recovery), each.what
            assert bool(each.undo) == bool(each.recovery) or "align" in each.what, each.what


@pytest.mark.parametrize("ending", [each for each in Ending if each not in UNKNOWN])
def test_what_ends_a_sleep_without_a_signal_can_be_undone_and_verified(ending: Ending) -> None:
    found = (endings.EndedBy(ending.name.lower(), None, 9),)
    for each in endings.remedies(found, penalties.for_kernel("6.12", 4 * MS), True, VMM, VCPU):
        assert each.undo
        assert each.recovery
        assert each.verify


def test_what_ends_the_penalty_says_how_it_is_undone_and_verified(tmp_path: Path) -> None:
    for each in catalogue.run(trace(tmp_path, loop(200)))[0].remedies:
        assert each.verify
        assert each.recovery
        assert each.undo or "align" in each.what
