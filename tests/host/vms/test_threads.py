"""Names of vCPU threads, and names that only look like them."""

import pytest

from sldtrace.host.vms.threads import vcpu_of


@pytest.mark.parametrize(
    ("comm", "vcpu"),
    [
        ("CPU 0/KVM", 0),
        ("CPU 61/KVM", 61),
        ("fc_vcpu 0", 0),
        ("fc_vcpu61", 61),
        ("vcpu12", 12),
        ("kvm-vcpu-7", 7),
        ("kvm-vcpu7", 7),
        ("EMT-3", 3),
        ("EMT", 0),
    ],
)
def test_spellings(comm: str, vcpu: int) -> None:
    assert vcpu_of(comm) == vcpu


@pytest.mark.parametrize(
    "comm",
    [
        *("", "qemu-system-x86", "vhost-1234", "kvm-nx-lpage-re", "fc_api"),
        *("CPU 0/TCG", "CPU /KVM", "CPU 0/KVM\n", "xCPU 0/KVM", "CPU \u0663/KVM"),
        *("vcpu", "vcpu-1", "vcpu\u00b2", "fc_vcpu  1", "kvm-vcpu--1", "EMT-", "EMT3"),
    ],
)
def test_other_threads(comm: str) -> None:
    assert vcpu_of(comm) is None
