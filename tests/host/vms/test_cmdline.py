"""Names from the command lines that VMMs are started with."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.host.vms.cmdline import irqchip_of, names_of, vmm_of
from sldtrace.host.vms.vmms import VMMS

UUID = "4dea22b3-1d52-4bdb-a2a4-0d6cc6c0d1f1"


def names(vmm: str, *arguments: str) -> dict[str, Any]:
    """What is known of the VM, without what is not."""
    fact = names_of(vmm, ["program", *arguments]).fact()
    assert set(fact["source"]) == {key for key, value in fact.items() if value and key != "source"}
    return {key: value for key, value in fact.items() if value is not None and key != "source"}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("web01", "web01"),
        ("web01,debug-threads=on", "web01"),
        ("web01,process=x", "web01"),
        ("guest=web01,debug-threads=on", "web01"),
        ("debug-threads=on,guest=web01", "web01"),
        ("process=other,guest=web01", "web01"),
        ("a,,b,c=d", "a,b"),
        ("guest=a,,,debug-threads=on", "a,"),
        ("guest=,,,,", ",,"),
        ("guest=a=b,debug-threads=on", "a=b"),
        ("guest=x,guest=y", "y"),
        ("debug-threads=on", None),
        ("guest=", None),
        ("", None),
        (",", None),
    ],
)
def test_name_of_qemu(value: str, name: str | None) -> None:
    expected = {"name": name} if name else {}
    assert names("qemu", "-m", "512", "-name", value, "-S") == expected
    assert names("qemu", "--name", value) == expected


def test_qemu_of_libvirt() -> None:
    found = names_of("qemu", ["qemu", "-name", "guest=web01", "-uuid", UUID.upper(), "-nographic"])
    assert (found.name, found.uuid, found.id) == ("web01", UUID, None)
    assert found.source == {"name": "-name", "uuid": "-uuid"}


def test_qemu_of_proxmox() -> None:
    arguments = ["-id", "100", "-name", "web01,debug-threads=on", "-smbios", f"type=1,uuid={UUID}"]
    assert names("qemu", *arguments) == {"id": "100", "name": "web01", "uuid": UUID}
    assert names("qemu", "-smbios", f"type=2,uuid={UUID}") == {}
    other = UUID.replace("4", "5")
    assert names("qemu", "-smbios", f"type=1,uuid={other}", "-uuid", UUID) == {"uuid": UUID}


def test_qemu_takes_the_last_of_an_option() -> None:
    assert names("qemu", "-name", "first", "-name", "second") == {"name": "second"}


def test_what_a_tenant_boots_with_is_no_option() -> None:
    assert names("qemu", "-name", "mine", "-append", "-name", "-append", "-uuid") == {"name": "mine"}
    assert names("qemu", "-append", f"-name evil -uuid {UUID}") == {}
    assert names("cloud-hypervisor", "--cmdline", "--api-socket=/evil") == {}
    assert names("kvmtool", "-p", "--name=evil", "--name", "mine") == {"name": "mine"}
    assert names("crosvm", "run", "--params", "--name=evil") == {}


def test_a_uuid_that_is_none() -> None:
    assert names("qemu", "-uuid", "x") == {}
    assert names("qemu", "-uuid", UUID + "\n") == {}


@pytest.mark.parametrize(
    ("vmm", "arguments", "known"),
    [
        ("firecracker", ["--id=vm-7", "--start-time-us=1"], {"id": "vm-7"}),
        ("firecracker", ["--no-api", "--", "--id", "evil"], {}),
        ("cloud-hypervisor", ["--api-socket", "/run/web01.sock"], {"id": "/run/web01.sock"}),
        ("cloud-hypervisor", ["--api-socket", "path=/run/web01.sock"], {"id": "/run/web01.sock"}),
        ("cloud-hypervisor", ["--api-socket", "fd=3"], {}),
        ("cloud-hypervisor", ["--platform", f"num_pci_segments=1,uuid={UUID}"], {"uuid": UUID}),
        ("crosvm", ["run", "--socket=/run/x.sock", "bzImage"], {"id": "/run/x.sock"}),
        ("virtualbox", ["--comment", "web 01", "--startvm", UUID], {"name": "web 01", "uuid": UUID}),
        ("virtualbox", ["--startvm", f"{{{UUID.upper()}}}"], {"uuid": UUID}),
        ("virtualbox", ["-startvm", "web01", "-v", "off"], {"name": "web01"}),
        ("firecracker", ["--id"], {}),
        ("nothing", ["-name", "x"], {}),
    ],
)
def test_other_vmms(vmm: str, arguments: list[str], known: dict[str, str]) -> None:
    assert names(vmm, *arguments) == known


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["/usr/bin/python3", "/usr/bin/sldtrace", "guest", "run", "split-bts"], "split-bts"),
        (["python3", "-m", "sldtrace", "guest", "run", "io-loop", "--timeout", "1ms"], "io-loop"),
        (["/opt/sldtrace/bin/sldtrace", "guest", "run", "split-bts", "--format=json"], "split-bts"),
        (["python3", "-m", "sldtrace", "guest", "run", "--timeout", "1ms"], None),
    ],
)
def test_our_own_monitor(arguments: list[str], name: str | None) -> None:
    assert vmm_of(arguments, "/usr/bin/python3.13", "python3") == "sldtrace"
    assert names_of("sldtrace", arguments).name == name


@pytest.mark.parametrize(
    "arguments",
    [
        ["python3", "-m", "sldtrace", "record", "-o", "guest"],
        ["python3", "-m", "sldtrace", "guest", "list"],
        ["cat", "sldtrace", "guest", "run"],
        [],
    ],
)
def test_no_monitor(arguments: list[str]) -> None:
    assert vmm_of(arguments, "/usr/bin/python3.13", "python3") is None


@pytest.mark.parametrize(
    ("exe", "argv0", "comm", "vmm"),
    [
        ("/usr/bin/qemu-system-x86_64", "/usr/bin/kvm", "kvm", "qemu"),
        ("/usr/libexec/qemu-kvm (deleted)", "qemu", "x", "qemu"),
        ("", "/usr/bin/qemu-system-x86_64", "renamed", "qemu"),
        ("", "", "qemu-system-x86", "qemu"),
        ("/nix/store/x/.qemu-system-x86_64-wrapped", "", "", "qemu"),
        ("/usr/bin/qemu-img", "qemu-img", "qemu-img", None),
        ("/usr/bin/qemu-x86_64", "qemu-x86_64", "qemu-x86_64", None),
        ("/firecracker-v1.7.0-x86_64", "", "", "firecracker"),
        ("/usr/bin/jailer", "jailer", "jailer", None),
        ("/usr/bin/cloud-hypervisor-static", "", "", "cloud-hypervisor"),
        ("", "", "cloud-hyperviso", "cloud-hypervisor"),
        ("/usr/lib/virtualbox/VirtualBoxVM", "", "", "virtualbox"),
        ("/usr/lib/virtualbox/VBoxSVC", "", "VBoxSVC", None),
        ("/usr/bin/bash", "bash", "bash", None),
    ],
)
def test_which_vmm(exe: str, argv0: str, comm: str, vmm: str | None) -> None:
    assert vmm_of([argv0] if argv0 else [], exe, comm) == vmm


@given(
    st.sampled_from([vmm.name for vmm in VMMS]),
    st.lists(
        st.sampled_from(["-name", "--name", "--id", "-uuid", "--", "=", ",", ",,", "guest=,", "-append", ""])
    ),
)
def test_any_command_line(vmm: str, arguments: list[str]) -> None:
    fact = names_of(vmm, arguments).fact()
    assert all(value for value in fact["source"].values())


def test_a_name_without_end_is_cut() -> None:
    found = names_of("qemu", ["qemu", "-name", "A" * 100_000]).name
    assert found == "A" * 1021 + "..."


@pytest.mark.parametrize(
    ("arguments", "irqchip"),
    [
        (["-machine", "pc-q35-9.2,usb=off,kernel_irqchip=split"], "split"),
        (["-M", "pc,kernel-irqchip=off"], "off"),
        (["--machine=q35,kernel-irqchip=on"], "on"),
        (["-accel", "kvm,kernel-irqchip=split", "-machine", "q35"], "split"),
        (["-machine", "q35,kernel-irqchip=on", "-machine", "kernel-irqchip=split"], "split"),
        (["-machine", "q35,kernel-irqchip=maybe"], None),
        (["-machine", "kernel-irqchip"], None),
        (["-append", "-machine kernel-irqchip=split"], None),
        ([], None),
    ],
)
def test_the_irqchip_of_qemu(arguments: list[str], irqchip: str | None) -> None:
    assert irqchip_of("qemu", ["qemu", *arguments]) == irqchip
    assert irqchip_of("crosvm", ["crosvm", *arguments]) is None
    assert irqchip_of(None, ["qemu", *arguments]) is None
