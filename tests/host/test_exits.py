"""Names of VM exits, compared with the kernel's headers where they are installed."""

import re
from pathlib import Path

import pytest

from sldtrace.host import exits
from sldtrace.host.exits import SVM, VMX
from sldtrace.recording import schema

ASM = Path("/usr/include/x86_64-linux-gnu/asm")
KVM = Path("/usr/include/linux/kvm.h")


def defined(header: Path, prefix: str) -> dict[str, int]:
    if not header.is_file():
        pytest.skip(f"no {header} (linux-libc-dev)")
    found = re.findall(rf"#define {prefix}(\w+)\s+(0x[0-9a-f]+|\d+)\b", header.read_text())
    return {name: int(value, 0) for name, value in found}


def printed(header: Path, table: str) -> dict[str, str]:
    """What the tracepoint prints for each constant: the header's own table of names."""
    if not header.is_file():
        pytest.skip(f"no {header} (linux-libc-dev)")
    body = header.read_text().partition(f"#define {table} ")[2]
    return dict(re.findall(r"\{\s*([\w+ ]+?),\s*\"([^\"]+)\"\s*\}", body))


def test_intel_names_are_those_that_kvm_prints() -> None:
    numbers = defined(ASM / "vmx.h", "EXIT_REASON_")
    names = printed(ASM / "vmx.h", "VMX_EXIT_REASONS")
    assert len(numbers) > 60
    for name, number in numbers.items():
        assert exits.INTEL[number] == names[f"EXIT_REASON_{name}"]


def test_amd_names_are_those_that_kvm_prints() -> None:
    numbers = {f"SVM_EXIT_{name}": code for name, code in defined(ASM / "svm.h", "SVM_EXIT_").items()}
    numbers |= {f"SVM_VMGEXIT_{name}": code for name, code in defined(ASM / "svm.h", "SVM_VMGEXIT_").items()}
    mistyped = {"read_rt": "read_tr", "write_rt": "write_tr"}
    compared = 0
    for constant, name in printed(ASM / "svm.h", "SVM_EXIT_REASONS").items():
        if constant in numbers:
            assert exits.AMD[numbers[constant]] == mistyped.get(name, name)
            compared += 1
        elif constant.startswith("SVM_EXIT_EXCP_BASE"):
            mnemonic = constant.removesuffix("_VECTOR")[-2:].replace("XM", "XF")
            assert name == f"{mnemonic} excp"
            compared += 1
    assert compared > 100
    aliases = {"SVM_EXIT_EXCP_BASE", "SVM_EXIT_LAST_EXCP", "SVM_EXIT_SW"}
    for constant, code in numbers.items():
        if constant.startswith("SVM_EXIT_") and constant not in aliases:
            assert code in exits.AMD, constant


def test_exceptions_are_those_of_the_header() -> None:
    found = {name: vector for name, vector in defined(ASM / "kvm.h", "").items() if len(name) == 9}
    assert len(found) >= 17
    for name, vector in found.items():
        assert exits.EXCEPTIONS[vector] == name.removesuffix("_VECTOR")


def test_user_exits_are_those_of_the_header() -> None:
    found = defined(KVM, "KVM_EXIT_")
    compared = {name: number for name, number in found.items() if name in exits.UserExit.__members__}
    assert len(compared) >= 38  # those of Linux 6.1; the rest are arguments of one exit
    assert compared == {name: exits.UserExit[name] for name in compared}


@pytest.mark.parametrize("table", [exits.INTEL, exits.AMD, exits.EXCEPTIONS])
def test_every_number_has_a_name_of_its_own(table: dict[int, str]) -> None:
    assert len(set(table.values())) == len(table)


@pytest.mark.parametrize(
    ("isa", "reason", "vector", "name"),
    [
        (VMX, 0, 17, "EXCEPTION_NMI (#AC)"),
        (VMX, 0, 14, "EXCEPTION_NMI (#PF)"),
        (VMX, 0, 2, "EXCEPTION_NMI (NMI)"),
        (VMX, 0, 9, "EXCEPTION_NMI (vector 9)"),
        (VMX, 0, -1, "EXCEPTION_NMI"),
        (VMX, 10, -1, "CPUID"),
        (VMX, 10, 17, "CPUID"),
        (VMX, 75, -1, "NOTIFY"),
        (VMX, 35, -1, "reason 35 (0x23)"),
        (VMX, 0x400, -1, "reason 1024 (0x400)"),
        (SVM, 0x51, 17, "AC excp"),
        (SVM, 0x52, 18, "MC excp"),
        (SVM, 0x56, 22, "vector 22 excp"),
        (SVM, 0, -1, "read_cr0"),
        (SVM, 0x400, -1, "npf"),
        (SVM, 0xFFFFFFFF, -1, "invalid_guest_state"),
        (SVM, 0x999, -1, "reason 2457 (0x999)"),
        ("isa 3", 0, 17, "reason 0 (0x0)"),
    ],
)
def test_name(isa: str, reason: int, vector: int, name: str) -> None:
    assert exits.name(isa, reason, vector) == name


@pytest.mark.parametrize(
    ("isa", "reason", "vector", "expected"),
    [
        (VMX, 0, 17, True),
        (VMX, 0, 14, False),
        (VMX, 0, -1, False),
        (VMX, 10, 17, False),
        (VMX, 0x51, 17, False),
        (SVM, 0x51, 17, True),
        (SVM, 0x52, 18, False),
        (SVM, 0, 17, False),
        ("isa 3", 0, 17, False),
    ],
)
def test_the_split_lock_exit_of_both_vendors(isa: str, reason: int, vector: int, expected: bool) -> None:
    assert exits.is_split_lock(isa, reason, vector) is expected


def test_the_bus_lock_exit_of_both_vendors() -> None:
    assert exits.is_bus_lock(VMX, 74)
    assert exits.is_bus_lock(SVM, 0xA5)
    assert not exits.is_bus_lock(VMX, 0xA5)
    assert exits.name(VMX, 30 | exits.BUS_LOCK_DETECTED) == "IO_INSTRUCTION, bus lock"
    assert exits.had_bus_lock(VMX, 30 | exits.BUS_LOCK_DETECTED)
    for isa, reason in ((VMX, 30), (VMX, 74), (VMX, exits.OTHER_REASONS), (SVM, exits.BUS_LOCK_DETECTED)):
        assert not exits.had_bus_lock(isa, reason)
    assert not exits.is_bus_lock(SVM, 74)
    assert "BUS_LOCK" in exits.name(VMX, 74)


def test_the_extensions_are_called_as_in_recordings() -> None:
    assert {VMX, SVM} == {name.lower() for name in schema.current().enums["isa"].values}


@pytest.mark.parametrize(
    ("reason", "error", "name"),
    [
        (2, 0, "KVM_EXIT_IO"),
        (39, -14, "EFAULT"),
        (10, -4, "EINTR"),
        (8, -4000, "errno 4000"),
        (99, 0, "KVM_EXIT 99"),
    ],
)
def test_user_name(reason: int, error: int, name: str) -> None:
    assert exits.user_name(reason, error) == name
