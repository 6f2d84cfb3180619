"""An example of each VMM in the table: its program, a vCPU thread, a command line with names of a VM."""

from dataclasses import dataclass, field

import pytest

from sldtrace.host.vms.cmdline import names_of, vmm_of
from sldtrace.host.vms.names import KEYS
from sldtrace.host.vms.threads import vcpu_of
from sldtrace.host.vms.vmms import VMMS

UUID = "4dea22b3-1d52-4bdb-a2a4-0d6cc6c0d1f1"


@dataclass(frozen=True)
class Example:
    """comm: of the thread of vCPU 3, empty where the VMM does not name its threads."""

    vmm: str
    exe: str
    comm: str
    arguments: tuple[str, ...]
    names: dict[str, str] = field(default_factory=dict)


EXAMPLES = (
    Example(
        "qemu",
        "/usr/bin/qemu-system-x86_64",
        "CPU 3/KVM",
        ("-name", "guest=web01,debug-threads=on", "-uuid", UUID),
        {"name": "web01", "uuid": UUID},
    ),
    Example("firecracker", "/usr/bin/firecracker", "fc_vcpu 3", ("--id", "vm-7"), {"id": "vm-7"}),
    Example(
        "cloud-hypervisor",
        "/usr/bin/cloud-hypervisor",
        "vcpu3",
        ("--api-socket", "/run/web01.sock", "--platform", f"uuid={UUID}"),
        {"id": "/run/web01.sock", "uuid": UUID},
    ),
    Example(
        "crosvm",
        "/usr/bin/crosvm",
        "crosvm_vcpu3",
        ("run", "--name", "web01", "-s", "/run/x.sock"),
        {"name": "web01", "id": "/run/x.sock"},
    ),
    Example("kvmtool", "/usr/bin/lkvm", "kvm-vcpu-3", ("run", "--name", "web01"), {"name": "web01"}),
    Example(
        "virtualbox",
        "/usr/lib/virtualbox/VBoxHeadless",
        "EMT-3",
        ("--comment", "web01", "--startvm", UUID),
        {"name": "web01", "uuid": UUID},
    ),
    Example(
        "sldtrace",
        "/usr/bin/python3",
        "",
        ("-m", "sldtrace", "guest", "run", "split-bts"),
        {"name": "split-bts"},
    ),
)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.vmm)
def test_each_vmm(example: Example) -> None:
    arguments = (example.exe, *example.arguments)
    assert vmm_of(arguments, example.exe) == example.vmm
    assert vmm_of(arguments) == example.vmm
    assert vcpu_of(example.comm) == (3 if example.comm else None)
    found = names_of(example.vmm, arguments)
    assert {key: value for key in KEYS if (value := getattr(found, key))} == example.names
    assert found.source.keys() == example.names.keys()


def test_each_vmm_has_an_example() -> None:
    assert [example.vmm for example in EXAMPLES] == [vmm.name for vmm in VMMS]


def test_a_name_belongs_to_one_vmm() -> None:
    programs = [program for vmm in VMMS for program in vmm.programs]
    threads = [thread for vmm in VMMS for thread in vmm.threads]
    assert len(set(programs)) == len(programs)
    assert len(set(threads)) == len(threads)


def test_options_are_of_known_kinds() -> None:
    options = [option for vmm in VMMS for option in vmm.options]
    assert {option.key for option in options} <= set(KEYS)
    assert all(option.option.startswith("-") for option in options)
