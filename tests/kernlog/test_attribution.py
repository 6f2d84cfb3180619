"""Whose instruction it was, and how sure that is."""

import pytest

from sldtrace.kernlog.attribution import attribute, place, vmm_of

LOW, PIE, LIBRARY, ELSEWHERE, KERNEL = 0x1E3, 0x56339A9888C3, 0x7F51C2B4A1D0, 0x21ADC3221A, 0xFFFFF80104613BE8


@pytest.mark.parametrize(
    ("comm", "origin", "addresses", "who", "certainty"),
    [
        ("CPU 0/KVM", "guest", [PIE], "guest", "certain"),
        ("CPU 0/KVM", "user", [KERNEL], "VMM", "certain"),
        ("game", "user", [LOW], "program", "certain"),
        ("game", "", [KERNEL], "guest", "certain"),
        ("CPU 0/KVM", "", [LOW], "guest", "certain"),
        ("qemu-system-x86", "", [LOW, PIE], "guest", "certain"),
        ("CPU 0/KVM", "", [ELSEWHERE], "guest", "probable"),
        ("qemu-system-x86", "", [ELSEWHERE], "guest", "probable"),
        ("EMT", "", [0x81B185BF], "guest", "probable"),
        ("dosemu.bin", "", [LOW], "guest", "probable"),
        ("CPU 0/KVM", "", [PIE], "guest or VMM", "possible"),
        ("qemu-kvm", "", [LIBRARY], "guest or VMM", "possible"),
        ("CPU 0/KVM", "", [], "guest or VMM", "possible"),
        ("CPU 0/TCG", "", [LIBRARY], "VMM", "certain"),
        ("vmx-vcpu-0", "", [ELSEWHERE], "VMM", "probable"),
        ("game", "", [PIE], "program", "probable"),
        ("game", "", [], "program", "probable"),
        ("game", "", [1 << 63], "guest", "certain"),
        ("game", "", [(1 << 63) - 1], "program", "probable"),
        ("game", "", [0xFFFF], "guest", "probable"),
        ("game", "", [0x10000], "program", "probable"),
        ("CPU 0/KVM", "", [0xFFFF], "guest", "certain"),
        ("CPU 0/KVM", "", [0x10000], "guest", "probable"),
        ("CPU 0/KVM", "", [PIE, ELSEWHERE], "guest", "probable"),
        ("CPU 0/KVM", "", [PIE, LIBRARY], "guest or VMM", "possible"),
        ("game", "", [PIE, LOW], "guest", "probable"),
        ("game", "", [PIE, KERNEL], "guest", "certain"),
    ],
)
def test_split_locks(comm: str, origin: str, addresses: list[int], who: str, certainty: str) -> None:
    found = attribute("split-lock", comm, origin, addresses)
    assert (found.who, found.certainty) == (who, certainty)
    assert found.reason


@pytest.mark.parametrize("addresses", [[], [LOW], [PIE], [ELSEWHERE]])
def test_that_a_thread_is_a_vcpu_is_known_by_its_name(addresses: list[int]) -> None:
    assert attribute("split-lock", "CPU 0/KVM", "", addresses).reason.startswith("a vCPU thread by its name")
    assert attribute("split-lock", "qemu-kvm", "", addresses).reason.startswith(
        "a thread of qemu by its name"
    )


def test_what_the_kind_of_the_line_says() -> None:
    assert attribute("split-lock-fatal", "x", "", [PIE]).who == "guest"
    assert attribute("bus-lock", "CPU 0/KVM", "", [LOW]).who == "VMM"
    assert attribute("bus-lock", "game", "", [LOW]).who == "program"
    assert attribute("split-lock", "game", "", [LOW], in_guest=True).who == "program"


@pytest.mark.parametrize(
    ("comm", "vmm"),
    [("CPU 31/KVM", "qemu"), ("CPU 3/TCG", "qemu"), ("qemu-system-x86", "qemu"),
     ("fc_vcpu61", "firecracker"),
     ("EMT-3", "virtualbox"), ("crosvm_vcpu0", "crosvm"), ("main-mks", "vmware"),
     ("vmx-vthread-11", "vmware"),
     ("vcpu0", "cloud-hypervisor"),
     ("qemu-system-x86_", ""), ("qemu-system-i386", "qemu"), ("CPU 0/KVMx", ""), ("main", ""), ("game", "")],
)  # fmt: skip
def test_the_vmm_of_a_thread(comm: str, vmm: str) -> None:
    assert vmm_of(comm) == vmm


@pytest.mark.parametrize(
    ("address", "guest", "text"),
    [
        (KERNEL, True, "the Windows kernel or a driver in the guest"),
        (0xFFFFFFFF810238B0, True, "the Linux kernel in the guest"),
        (0xFFFF888000001000, True, "a kernel in the guest"),
        (LOW, True, "real mode or firmware in the guest"),
        (0x5692286F, True, "32-bit code in the guest"),
        (0x5692286F, False, "a program below 4 GiB"),
        (PIE, False, "a program"),
        (0xFFFFFFFF80000000, False, "the Linux kernel"),
        (0xFFFFFFFF7FFFFFFF, False, "a kernel"),
        (0xFFFFF80000000000, False, "the Windows kernel or a driver"),
        (0xFFFFF7FFFFFFFFFF, False, "a kernel"),
        (0xFFFFF8FFFFFFFFFF, False, "the Windows kernel or a driver"),
        (0xFFFFF90000000000, False, "a kernel"),
        (1 << 63, False, "a kernel"),
        ((1 << 63) - 1, False, "a program"),
        (0xFFFF, False, "the first 64 KiB"),
        (0x10000, False, "a program below 4 GiB"),
        (0xFFFFFFFF, False, "a program below 4 GiB"),
        (1 << 32, False, "a program"),
        (1 << 32, True, "a program in the guest"),
    ],
)
def test_what_lies_at_an_address(address: int, guest: bool, text: str) -> None:
    assert place(address, guest) == text
