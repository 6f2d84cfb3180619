"""Bus locks of guests, of both vendors, and of programs; and when they are a warning."""

from pathlib import Path

import pytest

from sldtrace.analyzers.finding import Severity
from sldtrace.analyzers.findings import bus_lock
from sldtrace.host.exits import BUS_LOCK_DETECTED, OTHER_REASONS
from tests.analyzers.synthetic import FACTS, MS, START_NS, counted, exited, trace

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


def test_what_is_said_of_a_program(tmp_path: Path) -> None:
    """Counted from the first second of any address to the last one."""
    records = [locked(901, 10 - at, rip=0x1000 + at, second=at + 1, handler_ns=MS) for at in range(4)]
    records += [locked(901, 1, rip=0x2000 + at, handler_ns=MS) for at in range(2)]
    (finding,) = bus_lock.find(trace(tmp_path, more={"bus_lock": records}))
    assert (finding.start_ns, finding.end_ns) == (START_NS, START_NS + 5_000 * MS)
    assert (finding.numbers.per_s, finding.numbers.share) == (7.2, 0.0012)
    assert [each.text for each in finding.facts] == [
        "36, 7.2 a second; 6 ms in the handler (0.12 % of the time)",
        "0x1000 (10), 0x1001 (9), 0x1002 (8), 0x1003 (7) and 2 more addresses",
    ]
    assert finding.rip == 0x1000
    assert [remedy.what.partition(":")[0] for remedy in finding.remedies] == ["In the program"]
    assert "The kernel only logs them" in finding.cause
    assert not finding.ongoing


def test_addresses_that_are_all_shown_have_no_more(tmp_path: Path) -> None:
    (finding,) = bus_lock.find(
        trace(tmp_path, more={"bus_lock": [locked(901, 1, rip=at) for at in range(4)]})
    )
    assert finding.facts[1].text == "others (1), 0x1 (1), 0x2 (1), 0x3 (1)"
    assert finding.rip is None


def test_a_count_up_to_the_end_is_ongoing(tmp_path: Path) -> None:
    (finding,) = bus_lock.find(trace(tmp_path, more={"bus_lock": [locked(901, 1, second=9)]}))
    assert finding.ongoing
    (finding,) = bus_lock.find(trace(tmp_path, more={"counts": [counted(74, 7, {12: 7})]}))
    assert not finding.ongoing


def test_what_is_said_of_a_guest(tmp_path: Path) -> None:
    counts = [counted(74, 10, {20: 10}, host_ns=30 * MS, since_ns=START_NS + 500 * MS)]
    exits = [exited(at * MS, 74) for at in range(3)]
    exits += [exited(at * MS, 74, tid=999) for at in range(2)] + [exited(MS, 74, tgid=999)] + [exited(MS, 30)]
    (finding, *_) = bus_lock.find(trace(tmp_path, more={"counts": counts, "exit": exits}))
    assert (finding.start_ns, finding.end_ns) == (START_NS + 500 * MS, START_NS + 1_000 * MS)
    assert [each.text for each in finding.facts] == [
        "10, 20 a second; 30 ms outside of the guest (6 % of the time)"
    ]
    assert len(finding.evidence) == 3
    assert "right after the instruction" in finding.cause
    assert [remedy.what.partition(":")[0] for remedy in finding.remedies] == ["In the VMM", "In the guest"]


def test_on_amd_the_address_is_that_of_the_instruction(tmp_path: Path) -> None:
    (finding,) = bus_lock.find(trace(tmp_path, more={"counts": [counted(0xA5, 7, {12: 7}, isa=2)]}))
    assert "address is at the instruction" in finding.cause


@pytest.mark.parametrize(
    ("mode", "words"),
    [("fatal", "the kernel sends SIGBUS"), ("warn", "only logs them"), ("ratelimit:7", "above 7 a second")],
)
def test_what_the_kernel_does_follows_from_its_mode(tmp_path: Path, mode: str, words: str) -> None:
    opening = FACTS | {"split_lock": LIMITED | {"mode": mode}}
    (finding,) = bus_lock.find(trace(tmp_path, more={"bus_lock": [locked(901, 1)]}, opening=opening))
    assert words in finding.cause


@pytest.mark.parametrize(("slept_ms", "severity"), [(99, Severity.NOTICE), (100, Severity.WARNING)])
def test_the_sleep_of_a_rate_limit_is_a_warning_from_a_twentieth_on(
    tmp_path: Path, slept_ms: int, severity: Severity
) -> None:
    records = [locked(901, 5), locked(901, 5, second=1, handler_ns=slept_ms * MS)]
    made = trace(tmp_path, more={"bus_lock": records}, opening=FACTS | {"split_lock": LIMITED})
    (finding,) = bus_lock.find(made)
    assert finding.severity is severity
    assert "above 10 a second, of the whole host" in finding.cause
