"""Which threads of a log belong together, and what they are called."""

import pytest

from sldtrace.kernlog import parties
from sldtrace.kernlog.parties import Party
from sldtrace.kernlog.prefix import Stamp
from tests.kernlog.test_survey import surveyed, trap

PROGRAM = 0x400306


def grouped(*lines: str) -> list[Party]:
    return parties.group(surveyed(*lines))


def tids(*lines: str) -> list[set[int]]:
    return [party.tids for party in grouped(*lines)]


def named(names: str) -> list[str]:
    return [trap(name, tid, PROGRAM) for tid, name in enumerate(names)]


def test_threads_of_a_vm_have_tids_near_each_other() -> None:
    assert tids(trap("CPU 0/KVM", 1000), trap("CPU 1/KVM", 1256)) == [{1000, 1256}]
    assert tids(trap("CPU 0/KVM", 1000), trap("CPU 1/KVM", 1257)) == [{1000}, {1257}]


def test_a_vm_has_each_vcpu_once() -> None:
    assert tids(trap("CPU 0/KVM", 10), trap("CPU 1/KVM", 11), trap("CPU 0/KVM", 12)) == [{10, 11}, {12}]
    assert tids(trap("qemu-kvm", 10), trap("qemu-kvm", 11)) == [{10, 11}]
    fatal = trap("CPU 0/KVM", 10).replace("took a", "fatal")
    assert tids(trap("CPU 0/KVM", 10), fatal) == [{10}]


def test_threads_of_a_program_have_its_name() -> None:
    assert tids(trap("game", 10, PROGRAM), trap("game", 9000, PROGRAM + 1)) == [{10, 9000}]


def test_or_they_are_near_each_other_and_have_an_address_in_common() -> None:
    assert tids(trap("game", 10, PROGRAM), trap("worker", 74, PROGRAM)) == [{10, 74}]
    assert tids(trap("game", 10, PROGRAM), trap("worker", 75, PROGRAM)) == [{10}, {75}]
    assert tids(trap("game", 10, PROGRAM), trap("worker", 11, PROGRAM + 1)) == [{10}, {11}]


def test_or_they_are_near_each_other_and_of_one_vmm() -> None:
    lines = [trap("vmx-mks", 10, PROGRAM), trap("vmx-svga", 11, PROGRAM + 1)]
    assert [(party.name, party.is_vm) for party in grouped(*lines)] == [("VMware itself", False)]


@pytest.mark.parametrize(
    "other",
    [
        trap("CPU 1/KVM", 8, before="Mar 26 11:13:52 other kernel: "),
        trap("CPU 1/KVM", 8).replace("#AC", "#DB").replace("split_lock", "bus_lock"),
        trap("fc_vcpu 1", 8),
        trap("CPU 1/KVM", 8).replace("/8 ", "/8 (user) "),
    ],
)
def test_threads_of_another_host_or_kind_are_another_party(other: str) -> None:
    assert tids(trap(), other) == [{7}, {8}]


def test_parties_are_in_order_of_their_first_lines() -> None:
    lines = [trap("b", 20, PROGRAM), trap("a", 9000, PROGRAM), trap("b", 10, PROGRAM), trap("b", 9, PROGRAM)]
    found = grouped(*lines)
    assert [party.name for party in found] == ["b", "a"]
    assert [[thread.tid for thread in party.threads] for party in found] == [[20, 10, 9], [9000]]


def test_a_party_is_as_certain_as_the_least_certain_of_its_threads() -> None:
    kernel, user, nowhere = 0xFFFFF80104613BE8, 0x56339A9888C3, 0x21ADC3221A
    lines = [trap("CPU 0/KVM", 7, kernel), trap("CPU 1/KVM", 8, user), trap("CPU 2/KVM", 9, nowhere)]
    assert [party.attribution.certainty for party in grouped(*lines)] == ["possible"]
    assert [party.attribution.certainty for party in grouped(lines[0], lines[2])] == ["probable"]


def test_from_what_it_follows_that_threads_belong_together() -> None:
    assert [party.by for party in grouped(trap())] == [""]
    assert [party.by for party in grouped(trap(), trap("CPU 1/KVM", 8))] == ["TIDs near each other"]
    survey = surveyed(trap(), trap("CPU 1/KVM", 9000))
    for thread in survey.traps():
        thread.vm = "web01"
    (party,) = parties.group(survey)
    assert (party.by, party.name, party.tids) == ("the running VM", "VM web01", {7, 9000})


@pytest.mark.parametrize(
    ("lines", "name", "count"),
    [
        ([trap()], "a VM of QEMU", "1 vCPU"),
        ([trap(), trap("qemu-kvm", 8)], "a VM of QEMU", "2 threads"),
        ([trap("crosvm_vcpu0")], "a VM of crosvm", "1 vCPU"),
        ([trap("dosemu.bin", 7)], "a VM of dosemu.bin", "1 thread"),
        ([trap("CPU 0/TCG", 7)], "QEMU itself", "1 thread"),
        ([trap("game", 7, PROGRAM)], "game", "1 thread"),
        ([trap("", 7, PROGRAM)], "(no name)", "1 thread"),
        (named("abb"), "b and 1 other thread name", "3 threads"),
        (named("abc"), "a and 2 other thread names", "3 threads"),
        ([trap("CPU 0/KVM", 7).replace("/7 ", "/7 (user) ")], "QEMU itself", "1 thread"),
    ],
)  # fmt: skip
def test_names_and_counts(lines: list[str], name: str, count: str) -> None:
    (party,) = grouped(*lines)
    assert (party.name, party.count) == (name, count)


def test_what_a_party_sums_up() -> None:
    lines = [trap(before="[    2.0] "), trap("CPU 1/KVM", 8, before="[    1.0] "), trap(before="[    4.0] ")]
    (party,) = grouped(*lines)
    assert (party.lines, party.addresses, party.boot, party.host) == (3, {0x7C40: 3}, 0, "")
    assert (party.first.boot_ns, party.last.boot_ns, party.span_ns) == (10**9, 4 * 10**9, 3 * 10**9)


def test_the_earliest_and_the_latest_time_are_of_any_thread() -> None:
    days = {9: "2026-06-14", 8: "2026-06-12", 7: "2026-06-13"}
    lines = [trap(f"CPU {tid}/KVM", tid, before=f"{day}T00:00:00Z ") for tid, day in days.items()]
    (party,) = grouped(*lines)
    assert (party.first.text[:10], party.last.text[:10]) == ("2026-06-12", "2026-06-14")


@pytest.mark.parametrize(
    ("first", "last", "span"),
    [
        (Stamp(wall_ns=10, boot_ns=1), Stamp(wall_ns=50, boot_ns=6), 5),
        (Stamp(wall_ns=10, boot_ns=1), Stamp(wall_ns=50), 40),
        (Stamp(wall_ns=10), Stamp(wall_ns=50, boot_ns=6), 40),
        (Stamp(wall_ns=10), Stamp(boot_ns=6), None),
        (Stamp(boot_ns=6), Stamp(wall_ns=10), None),
        (Stamp(wall_ns=10), Stamp(), None),
        (Stamp(), Stamp(wall_ns=10), None),
    ],
)
def test_the_time_between_two_lines(first: Stamp, last: Stamp, span: int | None) -> None:
    assert parties.span_ns(first, last) == span
