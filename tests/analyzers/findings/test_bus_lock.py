"""Bus locks of guests, of both vendors, and of programs; and when they are a warning."""

from pathlib import Path

import pytest

from sldtrace.analyzers.finding import Severity
from sldtrace.analyzers.findings import bus_lock
from sldtrace.host.exits import BUS_LOCK_DETECTED, OTHER_REASONS
from tests.analyzers.synthetic import FACTS, MS, START_NS, counted, trace

LIMITED = {"mode": "ratelimit:10", "detects_split_locks": True, "detects_bus_locks": True}


@pytest.mark.parametrize(
    ("reason", "isa", "found"), [(74, 1, 1), (75, 1, 0), (0xA5, 2, 1), (74, 2, 0), (0xA5, 1, 0)]
)
def test_bus_lock_exits_of_both_vendors(tmp_path: Path, reason: int, isa: int, found: int) -> None:
    counts = [counted(reason, 7, {12: 7}, isa=isa)]
    findings = bus_lock.find(trace(tmp_path, more={"counts": counts}))
    assert [finding.numbers.bus_locks for finding in findings] == [7] * found
    assert all(finding.numbers.by_exit for finding in findings)


@pytest.mark.parametrize(("host_ms", "severity"), [(49, Severity.NOTICE), (50, Severity.WARNING)])
def test_time_for_bus_locks_is_a_warning_from_a_twentieth_on(
    tmp_path: Path, host_ms: int, severity: Severity
) -> None:
    counts = [counted(74, 10, {20: 10}, host_ns=host_ms * MS)]
    (finding,) = bus_lock.find(trace(tmp_path, more={"counts": counts}))
    assert finding.severity is severity


def test_a_bus_lock_before_another_exit_counts_and_its_time_does_not(tmp_path: Path) -> None:
    counts = [
        counted(74, 3, {20: 3}, host_ns=1 * MS),
        counted(30 | BUS_LOCK_DETECTED, 5, {20: 5}, host_ns=400 * MS),
        counted(30, 50, {20: 50}, host_ns=400 * MS),
        counted(OTHER_REASONS, 9, {20: 9}),
    ]
    (finding,) = bus_lock.find(trace(tmp_path, more={"counts": counts}))
    numbers = finding.numbers
    assert (numbers.bus_locks, numbers.on_other_exits, numbers.time_ns) == (8, 5, 1 * MS)
    assert "of these 5 at an exit with another reason" in finding.facts[0].text


def locked(tid: int, count: int, rip: int = 0x401234, second: int = 0, handler_ns: int = 0) -> dict[str, int]:
    since = START_NS + second * 1000 * MS
    who = {"tgid": 900, "tid": tid, "rip": rip}
    return {"ns": since + 1000 * MS, "since_ns": since, "count": count, "handler_ns": handler_ns, **who}


def test_bus_locks_of_programs_by_thread_and_address(tmp_path: Path) -> None:
    records = [
        locked(901, 10, handler_ns=5),
        locked(901, 20, second=1, handler_ns=7),
        locked(901, 100, rip=0x555500),
        locked(901, 1, rip=0),
        locked(902, 500),
    ]
    findings = bus_lock.find(trace(tmp_path, more={"bus_lock": records}))
    assert [(each.subject.tid, each.numbers.bus_locks) for each in findings if each.subject] == [
        (902, 500),
        (901, 131),
    ]
    numbers = findings[1].numbers
    assert (numbers.by_exit, numbers.on_other_exits, numbers.time_ns, numbers.per_s) == (False, 0, 12, 65.5)
    assert numbers.addresses == {"0x555500": 100, "0x401234": 30, "others": 1}
    assert (findings[1].rip, findings[1].severity) == (0x555500, Severity.NOTICE)
    assert len(findings[1].evidence) == 4


@pytest.mark.parametrize(("slept_ms", "severity"), [(99, Severity.NOTICE), (100, Severity.WARNING)])
def test_the_sleep_of_a_rate_limit_is_a_warning_from_a_twentieth_on(
    tmp_path: Path, slept_ms: int, severity: Severity
) -> None:
    records = [locked(901, 5), locked(901, 5, second=1, handler_ns=slept_ms * MS)]
    made = trace(tmp_path, more={"bus_lock": records}, opening=FACTS | {"split_lock": LIMITED})
    (finding,) = bus_lock.find(made)
    assert finding.severity is severity
    assert "above 10 a second, of the whole host" in finding.cause
