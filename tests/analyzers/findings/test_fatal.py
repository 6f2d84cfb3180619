"""VMMs ended by SIGBUS: one trap is enough."""

from pathlib import Path

from sldtrace.analyzers.finding import Confidence, Severity
from sldtrace.analyzers.findings import fatal
from tests.analyzers.shorthands import said
from tests.analyzers.synthetic import FLAGS, GUEST, MS, completed, early, facts, not_penalized, trace


def test_one_fatal_trap_is_enough(tmp_path: Path) -> None:
    killed = not_penalized(0, flags=GUEST | FLAGS["MSR_WATCHED"])
    (finding,) = fatal.find(trace(tmp_path, [killed], opening=facts(split_lock={"mode": "fatal"})))
    assert (finding.severity, finding.confidence) == (Severity.CRITICAL, Confidence.CERTAIN)
    (finding,) = fatal.find(trace(tmp_path, [killed]))
    assert finding.confidence is Confidence.LIKELY
    assert fatal.find(trace(tmp_path, [completed(0), early(100 * MS)])) == []


def test_what_is_said_of_two_processes(tmp_path: Path) -> None:
    """Of one, the first trap is that of the finding, and the last vCPU that is known."""
    who = [(2, 901, 900, -1, 0x99), (5, 201, 200, 3, 0x10), (7, 202, 200, 1, 0x20), (9, 201, 200, -1, 0x30)]
    rows = [
        not_penalized(at * MS, flags=GUEST | FLAGS["MSR_WATCHED"], tid=tid, tgid=tgid, vcpu=vcpu, rip=rip)
        for at, tid, tgid, vcpu, rip in who
    ]
    first, second = fatal.find(trace(tmp_path, rows, opening=facts(split_lock={"mode": "fatal"})))
    assert said(second) == {
        "who": (200, 201, 1),
        "headline": "was sent SIGBUS for the split lock at guest address 0x10",
        "facts": ["traps: 3 traps of 2 threads"],
        "time": (5, 9.005, False),
        "rip": 0x10,
        "sure": ("CERTAIN", "the handler returned false, and the mode is fatal"),
        "remedies": ["On the host", "In the guest", "On the host"],
        "evidence": [5, 7, 9],
    }
    assert (said(first)["who"], said(first)["facts"]) == ((900, 901, None), ["traps: 1 trap of 1 thread"])
    (finding,) = fatal.find(trace(tmp_path, rows[:1], opening=facts(split_lock={"mode": "warn"})))
    assert finding.confidence_reason == "the handler returned false, but the mode is warn"
    (finding,) = fatal.find(trace(tmp_path, rows[:1], opening=facts(split_lock=None)))
    assert finding.confidence_reason == "the handler returned false, but the mode is not known"
