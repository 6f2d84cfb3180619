"""Kernels out of their packages: the order of the modules, signatures taken off."""

import struct

import pytest

from lab import kernel_files
from lab.failures import LabError


def test_a_module_comes_after_its_dependencies() -> None:
    modules = {
        "kvm-intel": module("kvm"),
        "kvm": module("irqbypass,built_in"),
        "irqbypass": module(""),
        "ata_piix": module("libata"),
        "libata": module("scsi_mod,scsi_common"),
        "scsi_mod": module("scsi_common"),
        "scsi_common": module(""),
        "unwanted": module(""),
    }
    order = kernel_files.loading_order(modules)
    assert sorted(order) == sorted(set(modules) - {"unwanted"})
    for name, depends in (
        ("kvm-intel", "kvm"),
        ("kvm", "irqbypass"),
        ("ata_piix", "libata"),
        ("libata", "scsi_mod"),
    ):
        assert order.index(depends) < order.index(name)


def test_an_underscore_in_depends_finds_a_file_with_a_hyphen() -> None:
    modules = {"kvm-intel": module("some_lib"), "some-lib": module("")}
    assert kernel_files.loading_order(modules) == ["some-lib", "kvm-intel"]


def test_a_kernel_without_kvm_is_refused() -> None:
    with pytest.raises(LabError, match="kvm-intel"):
        kernel_files.loading_order({"msr": module("")})


def test_a_signature_is_taken_off_and_nothing_else() -> None:
    code = b"\x7fELF" + bytes(range(256))
    signature = b"s" * 263
    signed = code + signature + struct.pack(">8xI", len(signature)) + b"~Module signature appended~\n"
    assert kernel_files.without_signature(signed) == code
    assert kernel_files.without_signature(code) == code


def module(depends: str) -> bytes:
    return b"\x7fELF...license=GPL\0depends=" + depends.encode() + b"\0name=x\0"
