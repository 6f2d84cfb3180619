"""Findings of one VM and cause together: their threads in words, and the order of the report."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sldtrace.analyzers.findings import catalogue
from sldtrace.analyzers.findings.semaphore_queue import KIND
from sldtrace.model import early_returns
from sldtrace.reporters.groups import Group, grouped, related
from tests.analyzers.synthetic import MS, VCPU, completed, loop, task, trace
from tests.reporters import cases
from tests.reporters.rendering import parsed, text


def groups(tmp_path: Path, vcpus: list[int]) -> list[Group]:
    """One livelock for each of these vCPUs of one VM; -1: not known."""
    rows = [row | {"tid": VCPU + n, "vcpu": vcpu} for n, vcpu in enumerate(vcpus) for row in loop(200)]
    return grouped(catalogue.run(trace(tmp_path, rows)))


def test_threads_of_one_vm_and_cause_are_one_group(tmp_path: Path) -> None:
    (group,) = groups(tmp_path, [3, 0, 1, 2, 7])
    assert group.threads == "5 vCPUs (0-3, 7)"
    assert group.worst.startswith("vCPU ")
    assert (group.start_ns, group.end_ns) == (group.first.start_ns, group.first.end_ns)


def test_findings_of_one_vm_name_each_other(tmp_path: Path) -> None:
    slow = [completed(index * 40 * MS, tid=VCPU + 1, vcpu=1, start_cpu=1) for index in range(50)]
    other = [row | {"tgid": 300, "tid": 301} for row in loop(200)]
    recorded = trace(tmp_path, [*loop(200), *slow, *other])
    by_name = {(each["verdict"], each["tgid"]): each for each in parsed(recorded)["summary"]}
    order = list(by_name)
    one, two = ("livelock", 200), ("slowed", 200)
    assert [order[at] for at in by_name[one]["related"]] == [two]
    assert [order[at] for at in by_name[two]["related"]] == [one]
    assert by_name["livelock", 300]["related"] == []
    said = text(recorded)
    assert "\n  also    SLOWED (vCPU 1 of a process (PID 200))\n" in said
    assert "\n  see also  LIVELOCK (vCPU 0 of a process (PID 200))\n" in said


def test_a_wait_for_the_semaphore_and_its_queue_name_each_other(tmp_path: Path) -> None:
    """They are of several VMs: there is one semaphore."""
    made = cases.CASES["lab-semaphore-early-return"](tmp_path)
    assert [(each["verdict"], each["related"]) for each in parsed(made)["summary"]] == [
        ("delayed", [1]),
        ("queue", [0]),
    ]


def test_waits_of_different_vms_name_the_queue_only() -> None:
    """Not each other: of a thousand VMs that would be a million numbers."""

    def group(kind: str, *tgids: int) -> Any:
        return SimpleNamespace(
            first=SimpleNamespace(kind=kind), processes=frozenset(tgids), start_ns=0, end_ns=1
        )

    every = [group(KIND, 7), *(group(early_returns.SEMAPHORE, tgid) for tgid in range(100, 103))]
    named = [[every.index(other) for other in related(each, every)] for each in every]
    assert named == [[1, 2, 3], [0], [0], [0]]


def test_a_single_thread_has_its_number(tmp_path: Path) -> None:
    (group,) = groups(tmp_path, [5])
    assert (group.threads, group.worst) == ("vCPU 5", "")


def test_threads_without_a_vcpu_have_their_tids(tmp_path: Path) -> None:
    (group,) = groups(tmp_path, [-1, -1, -1])
    assert group.threads == f"3 threads ({VCPU}-{VCPU + 2})"


def test_many_ranges_are_cut(tmp_path: Path) -> None:
    (group,) = groups(tmp_path, list(range(0, 20, 2)))
    assert group.threads == "10 vCPUs (0, 2, 4, 6, 8, 10, 12, 14, ...)"


def test_processes_are_apart(tmp_path: Path) -> None:
    rows = [*loop(200), *(row | {"tgid": 300, "tid": 301} for row in loop(200))]
    recorded = trace(tmp_path, rows, tasks=[task(301, b"CPU 0/KVM", 300)])
    assert [len(each.found) for each in grouped(catalogue.run(recorded))] == [1, 1]
    assert [each["tgid"] for each in parsed(recorded)["summary"]] == [200, 300]


def test_the_length_of_a_report_hardly_grows_with_its_vcpus(tmp_path: Path) -> None:
    """Each vCPU is a line in three tables."""
    rows = [row | {"tid": VCPU + n, "vcpu": n} for n in range(64) for row in loop(20)]
    for name in ("64", "2"):
        (tmp_path / name).mkdir()
    many = text(trace(tmp_path / "64", rows))
    few = text(trace(tmp_path / "2", [row for row in rows if row["vcpu"] < 2]))
    assert len(many.splitlines()) - len(few.splitlines()) < 64 * 3 + 10


def test_the_json_names_the_findings_of_each_verdict(tmp_path: Path) -> None:
    rows = [row | {"tid": VCPU + n, "vcpu": n} for n in range(3) for row in loop(200)]
    made = parsed(trace(tmp_path, rows))
    (verdict,) = made["summary"]
    assert sorted(verdict["findings"]) == [0, 1, 2]
    assert verdict["tids"] == [made["findings"][n]["subject"]["tid"] for n in verdict["findings"]]
    assert verdict["remedy"] == made["findings"][0]["remedies"][0]
    assert verdict["remedy"]["undo"] == "sysctl kernel.split_lock_mitigate=1"
