"""Waits for a penalized vCPU: each threshold on both sides, locks, callers, and usual waits."""

from pathlib import Path

import pytest

from sldtrace.analyzers.finding import Confidence, Severity
from sldtrace.analyzers.findings import lock_hold
from tests.analyzers.shorthands import said as said_of
from tests.analyzers.synthetic import MS, SHORTEST, TICK, completed, facts, trace, waited


@pytest.mark.parametrize(("length_ns", "found"), [(TICK - 1, 0), (TICK, 1)])
def test_a_wait_of_less_than_a_jiffy_is_no_penaltys(tmp_path: Path, length_ns: int, found: int) -> None:
    """It counts neither as a finding of its own nor as evidence of one."""
    rows, stalls = [completed(0)], [waited(MS, length_ns)]
    assert len(lock_hold.find(trace(tmp_path, rows, more={"stall": stalls}))) == found
    (finding,) = lock_hold.find(trace(tmp_path, rows, more={"stall": [*stalls, waited(3 * MS, 9 * MS)]}))
    assert finding.numbers.waits == len(finding.evidence.frame()) == 1 + found


@pytest.mark.parametrize(
    ("lengths", "severity", "said"),
    [
        ([SHORTEST], Severity.NOTICE, "1 thread waited for it once, 12 ms"),
        ([3 * SHORTEST - 1], Severity.NOTICE, "once, 36 ms"),
        ([3 * SHORTEST], Severity.WARNING, "once, 36 ms"),
        ([SHORTEST] * 3, Severity.WARNING, "1 thread waited for it 3 times, 36 ms in all"),
        ([SHORTEST - 1] * 4, Severity.NOTICE, "4 times, 48 ms in all"),
    ],
)
def test_a_short_wait_is_no_warning(
    tmp_path: Path, lengths: list[int], severity: Severity, said: str
) -> None:
    stalls = [waited(100 * at * MS, each) for at, each in enumerate(lengths)]
    (finding,) = lock_hold.find(trace(tmp_path, [completed(0)], more={"stall": stalls}))
    assert finding.severity is severity
    assert finding.headline.endswith(said)


@pytest.mark.parametrize(
    ("begin_ns", "penalized_ns", "sure"),
    [
        (0, 10 * MS, True),
        (8 * MS + 20_000, 5 * MS, True),
        (8 * MS + 20_001, 5 * MS - 1, False),
        (40 * MS, 0, False),
    ],
)
def test_how_much_of_the_wait_was_a_penalty(
    tmp_path: Path, begin_ns: int, penalized_ns: int, sure: bool
) -> None:
    """The penalty lasts from 0 to 13.02 ms, the wait 10 ms."""
    rows = [completed(0), completed(100 * MS)]
    (finding,) = lock_hold.find(trace(tmp_path, rows, more={"stall": [waited(begin_ns, 10 * MS)]}))
    assert finding.numbers.penalized_ns == penalized_ns
    assert (finding.confidence is Confidence.CERTAIN) == sure


def test_each_lock_is_a_finding_and_callers_are_named(tmp_path: Path) -> None:
    stalls = [
        waited(0, 10 * MS),
        waited(100 * MS, 12 * MS, "MUTEX", tid=301),
        waited(50 * MS, 10 * MS, tid=302),
    ]
    opening = facts(kvm={"functions": {str(0x1B3A): "kvm_swap_active_memslots"}})
    found = lock_hold.find(trace(tmp_path, [completed(0)], opening=opening, more={"stall": stalls}))
    assert [(each.numbers.lock, each.numbers.waits, each.numbers.threads) for each in found] == [
        ("srcu", 2, 2),
        ("mutex", 1, 1),
    ]
    assert found[0].numbers.callers == (lock_hold.Caller("kvm_swap_active_memslots", 2),)
    assert [each.numbers.lock_name for each in found] == ["kvm->srcu", "a mutex"]


@pytest.mark.parametrize(
    ("functions", "name", "headline"),
    [
        (["kvm_vcpu_ioctl"], "vcpu->mutex", "held vcpu->mutex while it was penalized"),
        (["kvm_set_memory_region", "kvm_ioeventfd"], "kvm->slots_lock", "was penalized while a thread"),
        (["kvm_vm_ioctl"], "kvm->lock or kvm->slots_lock", "was penalized while a thread"),
        (["kvm_vcpu_ioctl", "kvm_new"], "a mutex", "held a mutex while it was penalized"),
    ],
)
def test_a_mutex_has_the_name_of_what_its_callers_take(
    tmp_path: Path, functions: list[str], name: str, headline: str
) -> None:
    stalls = [waited(0, 12 * MS, "MUTEX", caller=number) for number in range(len(functions))]
    opening = facts(kvm={"functions": {str(number): each for number, each in enumerate(functions)}})
    (finding,) = lock_hold.find(trace(tmp_path, [completed(0)], opening=opening, more={"stall": stalls}))
    assert finding.numbers.lock_name == name
    assert finding.headline.startswith(headline)


def test_waits_while_no_vcpu_is_penalized_are_the_usual_ones(tmp_path: Path) -> None:
    """Of the same VM, for the same kind of lock; they make no finding by themselves.

    Nor do those during a trap (0 to 13.02 ms) count: of several penalized vCPUs the probe knows one.
    """
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    usual = [waited(ms * MS, ms * MS, penalized_tid=0) for ms in (20, 40)]
    usual += [waited(ms * MS, 2 * MS, penalized_tid=0) for ms in (-1, 6, 13)]
    others = [waited(0, 50 * MS, penalized_tid=0, tgid=7), waited(0, 60 * MS, "MUTEX", penalized_tid=0)]
    assert lock_hold.find(trace(tmp_path / "a", [completed(0)], more={"stall": [*usual, *others]})) == []
    stalls = [*usual, *others, waited(0, 10 * MS)]
    (finding,) = lock_hold.find(trace(tmp_path / "b", [completed(0)], more={"stall": stalls}))
    assert finding.numbers.waits == 1
    (otherwise,) = [fact for fact in finding.facts if fact.label == "otherwise"]
    assert otherwise.text == "2 waits while no vCPU was penalized, at most 40 ms"


def test_what_is_said_of_two_locks(tmp_path: Path) -> None:
    rows = [completed(at * 100 * MS) for at in range(20)]
    stalls = [waited(at * 100 * MS + MS, 12 * MS, tid=300 + at % 2) for at in range(15)]
    stalls += [waited(at * 100 * MS + MS, 12 * MS, "MUTEX", caller=0x1000 + at) for at in range(3)]
    stalls += [waited(1_000 * MS + at * MS, 9 * MS, "MUTEX", penalized_tid=0) for at in (50, 60)]
    stalls.sort(key=lambda stall: int(stall["ns"]))
    one, other = lock_hold.find(trace(tmp_path, rows, more={"stall": stalls}))
    assert said_of(one) == {
        "who": (200, 201, 0),
        "headline": "held kvm->srcu while it was penalized: 2 threads waited for it 15 times, 180 ms in all",
        "facts": ["waited: 15 times, 180 ms in all, at most 12 ms", "in: kvm+0x1b3a (15)"],
        "time": (1, 1_413, False),
        "rip": None,
        "sure": ("CERTAIN", "it was penalized for 100 % of the time of the waits"),
        "remedies": ["On the host", "In the guest", "On the host"],
        "evidence": [at * 100 + 1 for at in range(15)],
    }
    assert said_of(other)["headline"].startswith(
        "held a mutex while it was penalized: 1 thread waited for it 3"
    )
    assert said_of(other)["facts"] == [
        "waited: 3 times, 36 ms in all, at most 12 ms",
        "in: kvm+0x1000 (1), kvm+0x1001 (1), kvm+0x1002 (1)",
        "otherwise: 2 waits while no vCPU was penalized, at most 9 ms",
    ]
    assert said_of(other)["evidence"] == [1, 101, 201]


def test_of_many_callers_the_first_ones_are_named(tmp_path: Path) -> None:
    stalls = [waited(at * 5 * MS, 4 * MS, caller=0x1000 + at) for at in range(18)]
    (finding,) = lock_hold.find(trace(tmp_path, [completed(0)], more={"stall": stalls}))
    assert len(finding.numbers.callers) == 16
    assert said_of(finding)["facts"][1].endswith("kvm+0x100f (1), and 2 more")
