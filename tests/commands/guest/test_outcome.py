"""The results of `sldtrace guest run`, as text."""

import pytest

from sldtrace.commands.guest import outcome
from sldtrace.host.split_lock import SplitLock
from sldtrace.vmm import guests
from sldtrace.vmm.kicks import Kind
from sldtrace.vmm.plan import Result, VcpuResult
from tests.commands.guest.plans import plan
from tests.reporters.rendering import as_text


def results(*vcpus: VcpuResult, **more: int) -> list[Result]:
    return [Result(100, 10**9, False, 0x4018, vcpus, **more)]


def test_no_progress_says_only_what_was_counted() -> None:
    text = outcome.progress(plan(), results(VcpuResult(1, 0, 928, 928, rip=0x4018)))
    assert text.startswith("no progress: not one loop finished in 928 KVM_RUN calls")
    assert "0x4018" in text
    assert outcome.progress(plan(), results(VcpuResult(1, 5, 2))) == (
        "progress: 5 loops finished, 2.5 per KVM_RUN"
    )
    mixed = outcome.progress(plan(vcpus=2), results(VcpuResult(1, 6, 2), VcpuResult(2, 0, 1)))
    assert mixed.endswith("; 1 of 2 vCPUs finished none")
    assert outcome.progress(plan(program=True), results(VcpuResult(1, 0))) == (
        "no progress: not one loop finished"
    )


def test_what_was_asked_for_is_printed_and_nothing_else() -> None:
    host = SplitLock("warn", True, False, 1)
    vcpu = VcpuResult(
        1, 6, 2, 2, reported=4, reported_ns=2_500_000, cpu_checks=9, cpu_mismatches=1, cpu_retries=5
    )
    disturbed = plan("report-split", migrate_ns=1, slots_ns=1, cpus=(0, 1), kick=Kind.TGKILL)
    more = {"migrations": 7, "slot_updates": 3, "longest_slot_update_ns": 12_000_000}
    text = as_text(outcome.build(disturbed, host, results(vcpu, **more)))
    for line in (
        "timeout         1ms, SIGUSR1 by tgkill",
        "guest reported  4 loops, last after 2.5 ms",
        "migrations      7",
        "CPU checks      9, of which 1 found another CPU than the thread's; 5 retries",
        "slot updates    3, the longest took 12 ms",
    ):
        assert f"{line}\n" in text
    quiet = as_text(outcome.build(plan(), host, results(VcpuResult(1, 6, 2, 2))))
    assert not any(
        word in quiet for word in ("reported", "migrations", "CPU checks", "slot updates", "vCPU ")
    )


def test_each_vcpu_has_a_line_and_the_sums_are_right() -> None:
    host = SplitLock("warn", True, False, 1)
    both = results(VcpuResult(11, 1000, 2, 2, 0, 5_000_000, 1), VcpuResult(12, 0, 30, 30, 0, 7_000_000, 1))
    built = outcome.build(plan(vcpus=2), host, both)
    text = as_text(built)
    assert "0      0   11  1,000        2      2     5 ms\n" in text
    assert "0      1   12      0       30     30     7 ms\n" in text
    said = built.data
    assert (said["loops"], said["kvm_runs"], said["eintr"], said["longest_run_ns"]) == (
        *(1000, 32, 32),
        7_000_000,
    )
    assert [one["tid"] for one in said["vms"][0]["vcpus"]] == [11, 12]


@pytest.mark.parametrize(
    ("name", "host", "words"),
    [
        ("split-bts", SplitLock("unsupported", False, False, 1), "no split-lock detection"),
        ("split-bts", SplitLock("warn", False, True, 1), "no split-lock detection"),
        ("split-bts", SplitLock("off", True, False, 1), "booted with split_lock_detect=off"),
        ("split-bts", SplitLock("ratelimit:5", True, True, 1), "booted with split_lock_detect=ratelimit:5"),
        (
            "split-bts",
            SplitLock("warn", True, False, 0),
            "split_lock_detect=warn, kernel.split_lock_mitigate 0",
        ),
        ("split-bts", SplitLock("warn", True, False, None), "kernel.split_lock_mitigate missing"),
        ("aligned-bts", SplitLock("warn", True, False, 1), "detection has no effect on it"),
    ],
)
def test_meaning_follows_the_host(name: str, host: SplitLock, words: str) -> None:
    assert words in outcome.meaning(guests.load(name), host)
