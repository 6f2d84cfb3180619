"""Names of vCPU threads, and names that only look like them."""

from pathlib import Path

import pytest

from sldtrace.host.vms.threads import vcpu_of, vcpu_of_thread


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


def test_a_thread_that_runs_and_one_that_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "7" / "task" / "8"
    folder.mkdir(parents=True)
    (folder / "comm").write_bytes(b"CPU 3/KVM\n")
    assert vcpu_of_thread(7, 8, tmp_path) == 3
    assert vcpu_of_thread(7, 9, tmp_path) is None
