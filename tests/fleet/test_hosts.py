"""The summary of one host: what its findings cost, and whom."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from sldtrace.analyzers.finding import Numbers
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.trace import Trace
from sldtrace.errors import SldtraceError
from sldtrace.fleet import hosts
from sldtrace.fleet.summary import OTHERS, Summary, Tally, merge_all
from sldtrace.recording import collect
from tests.analyzers.synthetic import MS, RIP, START_NS, facts, loop, write
from tests.fleet import fleets
from tests.recording.rotated import rotate
from tests.reporters import cases


def summary(paths: Sequence[Path], name: str = "web01") -> Summary:
    with collect.open_all(paths) as collection:
        return hosts.summarize(name, collection)


def test_the_page_has_each_kind() -> None:
    page = (Path(__file__).parents[2] / "docs/fleet.md").read_text(encoding="utf-8")
    for analyzer in catalogue.ANALYZERS:
        (row,) = [each for each in page.splitlines() if each.startswith("|") and f"`{analyzer.kind}`" in each]
        assert row.endswith("| none |") == (analyzer.numbers.lost_ns is Numbers.lost_ns)


def test_a_livelock(tmp_path: Path) -> None:
    found = summary([fleets.host(tmp_path / "a.sld", 1, name="web01")])
    assert found.hosts == found.recordings == found.files == 1
    found = summary([fleets.host(tmp_path / "b.sld", 0, name="web01")])
    lost = 160 * MS - 30_000
    tally = Tally(hosts=1, affected=1, threads=1, traps=0, lost_ns=lost)
    assert (found.affected, found.lost_ns, found.traps) == (1, lost, 160)
    assert found.kernels == {(fleets.KERNELS[0],): Tally(1, 1, 1, 160, lost)}
    assert found.vmms == {("qemu", "/usr/bin/qemu-system-x86_64"): tally}
    assert found.timers == {("SIGUSR1", "timer_create", "1 ms"): tally}
    assert found.addresses == {(f"{RIP:#x}",): tally}
    ((key, problem),) = found.problems.items()
    assert key == ("early-return-loop", "qemu", "SIGUSR1", "timer_create", "1 ms")
    assert (problem.example.host, problem.example.vm, problem.example.rip) == ("web01", "vm-0000", "0x7c40")
    assert problem.example.remedies[1].what.startswith("In the VMM: leave more than ")
    ((vm,), (host,)) = found.top_vms.entries, found.top_hosts.entries
    assert (vm.host, vm.name, vm.verdict, vm.lost_ns) == ("web01", "vm-0000", "delayed", lost)
    assert (host.name, host.kernel, host.lost_ns, host.incomplete) == (
        "web01",
        fleets.KERNELS[0],
        lost,
        False,
    )


def test_the_files_of_a_rotated_recording_cost_what_the_whole_costs(tmp_path: Path) -> None:
    path = fleets.host(tmp_path / "whole.sld", 0)
    with collect.open_all([path]) as collection:
        (timeline,) = collection.timelines
        files = rotate(timeline, tmp_path / "host.sld", [START_NS + 50 * MS, START_NS + 100 * MS])
    one, three = summary([path]), summary(files)
    assert (one.files, three.files) == (1, 3)
    assert (one.recordings, one.lost_ns, one.addresses) == (three.recordings, three.lost_ns, three.addresses)


def test_several_boots_are_one_host(tmp_path: Path) -> None:
    paths = [fleets.host(tmp_path / f"{number}.sld", number, name="web01") for number in (0, 1, 2)]
    found = summary(paths)
    assert (found.hosts, found.recordings) == (1, 3)
    assert {key: each.hosts for key, each in found.kernels.items()} == {(each,): 1 for each in fleets.KERNELS}


def test_hosts_with_each_kind_of_finding_are_merged_in_any_order(tmp_path: Path) -> None:
    made = []
    for name in cases.EACH_KIND:
        (tmp_path / name).mkdir()
        path = cases.CASES[name](tmp_path / name).recording.path
        made.append(summary([path], name))
    whole = merge_all(made)
    assert {key[0] for key in whole.problems} == {each.kind for each in catalogue.ANALYZERS}
    assert whole.lost_ns == sum(each.lost_ns for each in made)
    chance = random.Random(12)
    for _ in range(5):
        parts = list(made)
        while len(parts) > 1:
            one, other = (parts.pop(chance.randrange(len(parts))) for _ in range(2))
            parts.append(one.merge(other))
        assert parts == [whole]


def test_a_thread_with_two_findings_counts_once(tmp_path: Path) -> None:
    """Such as one that waits in a queue, and is in a loop."""
    recorded = cases.CASES["lab-semaphore-early-return"](tmp_path)
    findings = catalogue.run(recorded)
    found = summary([recorded.recording.path])
    lost = [each.numbers.lost_ns for each in findings]
    assert len(findings) > 1
    assert max(lost) < found.lost_ns <= sum(lost)
    assert sum(each.tally.lost_ns for each in found.problems.values()) == sum(lost)
    # Those that wait in the queue are affected, although the finding is of the host.
    assert len(found.top_vms.entries) >= 1
    assert sum(vm.lost_ns for vm in found.top_vms.entries) == found.lost_ns


def test_the_cost_of_a_slowdown_includes_the_semaphore(tmp_path: Path) -> None:
    recorded = cases.CASES["slowed"](tmp_path)
    (finding,) = catalogue.run(recorded)
    assert finding.numbers.lost_ns == finding.numbers.slept_ns + finding.numbers.waited_ns > 0


def test_what_kills_costs_no_time(tmp_path: Path) -> None:
    recorded = cases.CASES["fatal"](tmp_path)
    found = summary([recorded.recording.path])
    assert (found.affected, found.lost_ns, found.severity) == (1, 0, 3)
    assert found.simulated == 1


def test_of_many_addresses_the_rest_is_one_entry(tmp_path: Path) -> None:
    rows = [row for number in range(30) for row in loop(20, at_ns=number * 100 * MS, rip=0x1000 + number)]
    found = summary([write(tmp_path / "a.sld", rows)])
    assert len(found.addresses) == hosts.MOST_OF_HOST + 1
    rest = found.addresses[OTHERS]
    assert (rest.hosts, rest.threads) == (1, 1)
    assert (f"{0x1000:#x}",) in found.addresses


def test_what_cannot_be_read_is_in_the_summary(tmp_path: Path) -> None:
    good = fleets.host(tmp_path / "a.sld", 0)
    (tmp_path / "b.sld").touch()
    found = summary([good, tmp_path / "b.sld"])
    assert (found.hosts, found.incomplete) == (1, 1)
    assert [each.path for each in found.unreadable.entries] == [str(tmp_path / "b.sld")]
    none = summary([tmp_path / "b.sld"])
    assert (none.hosts, none.unreadable.count) == (0, 1)


def test_a_file_that_changes_while_it_is_read_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changing(_: Trace) -> None:
        raise SldtraceError("a.sld changed while it was read")

    monkeypatch.setattr(catalogue, "run", changing)
    found = summary([fleets.host(tmp_path / "a.sld", 0)])
    assert (found.hosts, found.unreadable.entries[0].reason) == (0, "a.sld changed while it was read")


def test_lost_records_make_it_incomplete(tmp_path: Path) -> None:
    lost = [{"ns": START_NS, "count": 7, "kind": 1, "cause": 1, "cpu": 0}]
    found = summary([fleets.host(tmp_path / "a.sld", 0, lost=lost)])
    assert (found.lost_records, found.incomplete) == (7, 1)


def test_names_of_hosts_are_escaped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", loop(200), opening=facts(host={"name": "x\x1b[2J"}))
    found = summary([path], "x\x1b[2J")
    assert found.top_hosts.entries[0].name == "x\\x1b[2J"
    assert all(each.isprintable() for each in (found.top_vms.entries[0].host, str(found)))
