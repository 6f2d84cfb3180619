"""VM exits by bus locks: of both vendors, and when they are a warning."""

from pathlib import Path

import pytest

from sldtrace.analyzers.finding import Severity
from sldtrace.analyzers.findings import bus_lock
from tests.analyzers.synthetic import MS, counted, trace


@pytest.mark.parametrize(
    ("reason", "isa", "found"), [(74, 1, 1), (75, 1, 0), (0xA5, 2, 1), (74, 2, 0), (0xA5, 1, 0)]
)
def test_bus_lock_exits_of_both_vendors(tmp_path: Path, reason: int, isa: int, found: int) -> None:
    counts = [counted(reason, 7, {12: 7}, isa=isa)]
    findings = bus_lock.find(trace(tmp_path, more={"counts": counts}))
    assert [finding.numbers.exits for finding in findings] == [7] * found


@pytest.mark.parametrize(("host_ms", "severity"), [(49, Severity.NOTICE), (50, Severity.WARNING)])
def test_time_for_bus_locks_is_a_warning_from_a_twentieth_on(
    tmp_path: Path, host_ms: int, severity: Severity
) -> None:
    counts = [counted(74, 10, {20: 10}, host_ns=host_ms * MS)]
    (finding,) = bus_lock.find(trace(tmp_path, more={"counts": counts}))
    assert finding.severity is severity
