"""What to change is listed once, what works at once first, with how it is undone and verified."""

from pathlib import Path

from sldtrace.analyzers.findings import catalogue
from sldtrace.reporters import remedies
from sldtrace.reporters.groups import grouped
from tests.analyzers.synthetic import MS, VCPU, completed, loop, trace
from tests.reporters.rendering import text


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


def test_what_ends_the_penalty_says_how_it_is_undone_and_verified(tmp_path: Path) -> None:
    for each in catalogue.run(trace(tmp_path, loop(200)))[0].remedies:
        assert each.verify
        assert each.recovery
        assert each.undo or "align" in each.what
