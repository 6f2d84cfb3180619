"""Modules that run guests without KVM, from fake module folders."""

from pathlib import Path

import pytest

from sldtrace.checks import hypervisors
from sldtrace.checks.result import Check, Places, State
from sldtrace.host import kernel
from tests.checks.hosts import DEBIAN
from tests.host.fakeelf import NOP, VMLAUNCH, VMPTRLD, VMREAD, VMRESUME, VMWRITE, VMXON, elf

HYPERVISOR = VMXON + VMPTRLD + VMLAUNCH + VMRESUME + (VMREAD + VMWRITE) * 20


def host(folder: Path, files: dict[str, bytes | None], taints: str = "") -> list[Check]:
    """The checks on a host where these modules are loaded; None: without a file."""
    line = "{} 1 0 - Live 0x0000000000000000" + (f" ({taints})" if taints else "")
    (folder / "modules").write_text("".join(line.format(name) + "\n" for name in files))
    tree = folder / "lib/modules" / kernel.release()
    tree.mkdir(parents=True)
    for name, content in files.items():
        if content is not None:
            (tree / f"{name}.ko").write_bytes(content)
    there = [name for name, content in files.items() if content is not None]
    (tree / "modules.dep").write_text("".join(f"{name}.ko:\n" for name in there))
    places = Places(proc=folder, sys=folder / "sys", root=folder)
    return list(hypervisors.checks(hypervisors.scan(places), DEBIAN))


def test_a_hypervisor_is_found_by_its_code(tmp_path: Path) -> None:
    suspect, others = host(tmp_path, {"mine": elf(HYPERVISOR), "harmless": elf(NOP)}, "OE")
    assert (suspect.name, suspect.state) == ("hypervisor module", State.PROBLEM)
    assert "module mine, out of tree has the VMX instructions of a hypervisor: VMXON 1" in suspect.text
    assert "does not call handle_guest_split_lock" in suspect.text
    assert suspect.data["confidence"] == "certain"
    assert suspect.data["hits"]["VMREAD"] == 20
    assert [fix.do for fix in suspect.fixes] == ["modprobe -r mine"]
    assert others.state is State.OK
    assert others.text == (
        "2 of 2 loaded modules other than KVM scanned for VMX instructions; out of tree: mine, harmless"
    )


def test_one_that_calls_the_kernels_handler(tmp_path: Path) -> None:
    suspect, _ = host(tmp_path, {"mine": elf(HYPERVISOR, strings=b"\0handle_guest_split_lock\0")})
    assert "calls handle_guest_split_lock as KVM does" in suspect.text
    assert suspect.data["handles_split_locks"] is True


def test_kvm_is_no_suspect(tmp_path: Path) -> None:
    found = host(tmp_path, {"kvm_intel": elf(HYPERVISOR), "kvm": elf(NOP)})
    assert [one.name for one in found] == ["other modules"]
    assert "no modules other than KVM are loaded" in found[0].text


def test_instructions_in_data_are_nothing(tmp_path: Path) -> None:
    (others,) = host(tmp_path, {"mine": elf(NOP, data=HYPERVISOR)})
    assert others.state is State.OK


def test_a_coincidence_is_possible(tmp_path: Path) -> None:
    suspect, _ = host(tmp_path, {"big": elf(VMLAUNCH + VMRESUME)})
    assert suspect.state is State.NOTE
    assert "perhaps by coincidence" in suspect.text
    assert suspect.fixes == ()


@pytest.mark.parametrize("content", [None, elf(NOP), b"no ELF"])
def test_known_names_need_no_file(content: bytes | None, tmp_path: Path) -> None:
    suspect, others = host(tmp_path, {"vboxdrv": content})
    assert suspect.state is State.PROBLEM
    assert "module vboxdrv (VirtualBox) runs guests without KVM, known by its name" in suspect.text
    assert others.state is State.OK


def test_what_could_not_be_seen(tmp_path: Path) -> None:
    (others,) = host(tmp_path, {"gone": None, "broken": b"no ELF", "fine": elf(NOP)})
    assert others.state is State.UNKNOWN
    assert "1 of 3 loaded modules" in others.text
    assert "not read: gone (its file is not below /lib/modules) and 1 more" in others.text
    assert [one["name"] for one in others.data["not_read"]] == ["gone", "broken"]


def test_a_file_that_is_not_what_was_loaded(tmp_path: Path) -> None:
    (tmp_path / "sys/module/mine").mkdir(parents=True)
    (tmp_path / "sys/module/mine/srcversion").write_text("AB12\n")
    suspect, _ = host(tmp_path, {"mine": elf(HYPERVISOR, data=b"\0srcversion=CD34\0")})
    assert "srcversion differs" in suspect.text
    assert suspect.data["file_is_loaded"] is False
