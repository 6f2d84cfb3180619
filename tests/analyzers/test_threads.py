"""The table of threads: what is counted for each, and in what order."""

from pathlib import Path

import pytest

from sldtrace.analyzers import threads
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.trace import load
from tests.analyzers.synthetic import (
    COMPLETED,
    EARLY,
    FLAGS,
    GUEST,
    MS,
    RIP,
    VCPU,
    VMM,
    completed,
    early,
    interrupted,
    loop,
    not_penalized,
    task,
    trace,
)

MISSED = FLAGS["RETURN_MISSED"]
COLUMNS = [
    "tgid",
    "tid",
    "vcpu",
    "guest",
    "traps",
    "early_returns",
    "completed",
    "not_penalized",
    "fatal",
    "slept_ns",
    "penalty_share",
    "vm",
    "vm_uuid",
    "vmm",
]


def test_no_traps(tmp_path: Path) -> None:
    table = threads.summarize(trace(tmp_path))
    assert len(table) == 0
    assert list(table.columns) == COLUMNS


def test_each_way_that_a_trap_can_end_is_counted_once(tmp_path: Path) -> None:
    rows = [
        early(0),
        early(20 * MS, left_ms=1, rip=RIP + 8),
        completed(40 * MS),
        completed(60 * MS),
        completed(80 * MS),
        # A signal at the semaphore: no penalty completed.
        interrupted(100 * MS),
        completed(120 * MS, semaphore_result=-4, flags=EARLY | FLAGS["SEMAPHORE"] | GUEST),
        not_penalized(140 * MS),
        # The return of the sleep was missed: early if it is known that detection stayed on, or nothing.
        early(160 * MS, left_ms=0, flags=EARLY | MISSED | GUEST),
        early(180 * MS, left_ms=0, flags=EARLY & ~FLAGS["MSR_WATCHED"] | MISSED | GUEST),
        completed(200 * MS, flags=COMPLETED | MISSED | GUEST),
        not_penalized(220 * MS, flags=GUEST | FLAGS["MSR_WATCHED"]),
    ]
    (row,) = threads.summarize(trace(tmp_path, rows)).to_dict("records")
    slept = sum(each["sleep_ns"] for each in rows)
    span = max(each["end_ns"] for each in rows) - rows[0]["start_ns"]
    share = (slept + sum(each.get("semaphore_ns", 0) for each in rows)) / span
    assert row == {
        "tgid": VMM,
        "tid": VCPU,
        "vcpu": 0,
        "guest": True,
        "traps": 12,
        "early_returns": 5,
        "completed": 3,
        "not_penalized": 1,
        "fatal": 1,
        "slept_ns": slept,
        "penalty_share": pytest.approx(share, abs=5e-5),
        "vm": "",
        "vm_uuid": "",
        "vmm": "",
    }


def test_a_fatal_trap_is_neither_completed_nor_not_penalized(tmp_path: Path) -> None:
    """In mode fatal the handler returns false at once (SIGBUS follows), before any penalty."""
    rows = [not_penalized(0, flags=GUEST | FLAGS["MSR_WATCHED"])]
    (row,) = threads.summarize(trace(tmp_path, rows)).to_dict("records")
    assert [row[name] for name in ("traps", "early_returns", "completed", "not_penalized", "fatal")] == [
        1,
        0,
        0,
        0,
        1,
    ]


def test_a_vcpu_whose_thread_takes_split_locks_of_its_own_is_a_guest(tmp_path: Path) -> None:
    rows = [completed(0, flags=COMPLETED, vcpu=-1), completed(30 * MS)]
    assert threads.summarize(trace(tmp_path, rows))["guest"].tolist() == [True]


def test_the_busiest_thread_first_and_in_order_of_appearance_among_equals(tmp_path: Path) -> None:
    rows = [
        completed(0, tid=303, flags=COMPLETED, vcpu=-1),
        completed(1, tid=302, vcpu=-1),
        completed(2, tid=302, vcpu=5),
        completed(3, tid=301, vcpu=2),
    ]
    table = threads.summarize(trace(tmp_path, rows))
    assert table["tid"].tolist() == [302, 303, 301]
    assert table["guest"].tolist() == [True, False, True]
    assert table["vcpu"].isna().tolist() == [False, True, False]
    assert table["vcpu"][0] == 5


def test_who_it_is(tmp_path: Path) -> None:
    """The VM from the facts; the vCPU from the records or, where they lack it, by the thread's name."""
    rows = [
        completed(0, tid=301, vcpu=-1),
        completed(1, tid=302, vcpu=5),
        completed(2, tid=303, vcpu=-1, tgid=9),
    ]
    tasks = [task(301, b"CPU 7/KVM"), task(302, b"CPU 6/KVM"), task(303, b"worker", 9)]
    known = {"vmm": "qemu", "vm": {"name": "web01", "uuid": "0f"}}
    recorded = trace(tmp_path, rows, tasks=tasks, updates=[{"processes": {str(VMM): known}}])
    table = threads.summarize(recorded)
    assert table["vcpu"].fillna(-1).tolist() == [7, 5, -1]
    assert table["vm"].tolist() == ["web01", "web01", ""]
    assert table["vm_uuid"].tolist() == ["0f", "0f", ""]
    assert table["vmm"].tolist() == ["qemu", "qemu", ""]


def test_the_verdict_of_each_thread(tmp_path: Path) -> None:
    rows = [*loop(200), completed(0, tid=301), completed(400 * MS, tid=301)]
    recorded = trace(tmp_path, rows)
    table = threads.summarize(recorded, catalogue.run(recorded)).set_index("tid")
    assert table["verdict"].to_dict() == {VCPU: "livelock", 301: "unaffected"}
    assert "verdict" not in threads.summarize(recorded).columns


def test_the_victims_of_a_queue_are_not_unaffected() -> None:
    path = Path(__file__).parents[1] / "reporters/recordings/lab-semaphore-queue.sld"
    recorded = load(path)
    (queue,) = catalogue.run(recorded)
    assert queue.subject is None
    table = threads.summarize(recorded, [queue]).set_index("tid")
    victims = {each.tid for each in queue.numbers.victims}
    assert len(victims) == 4
    assert {tid for tid, verdict in table["verdict"].items() if verdict == "queue"} == victims
