"""VMX instructions in modules: found in code only, counted, and compared with the background."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.host import vmx
from tests.host.fakeelf import (
    CMPXCHG16B,
    NOP,
    RDRAND,
    VMCLEAR,
    VMLAUNCH,
    VMPTRLD,
    VMREAD,
    VMRESUME,
    VMWRITE,
    VMXON,
    elf,
)

ALL = (VMXON, VMPTRLD, VMLAUNCH, VMRESUME, VMREAD, VMWRITE)


def test_each_instruction_is_counted_in_code() -> None:
    found = vmx.scan(elf(NOP.join(one * 2 for one in ALL)))
    assert found.hits == dict.fromkeys(["VMXON", "VMPTRLD", "VMLAUNCH", "VMRESUME", "VMREAD", "VMWRITE"], 2)


@pytest.mark.parametrize("other", [RDRAND, VMCLEAR, CMPXCHG16B, b"\x0f\x01\xc1", b"\xf3\x0f\xc7\xf8"])
def test_neighbours_are_not_counted(other: bytes) -> None:
    """RDRAND, VMCLEAR, CMPXCHG16B, VMCALL (which guests use) and RDPID share bytes with them."""
    assert set(vmx.scan(elf(NOP + other + NOP)).hits.values()) == {0}


def test_data_is_not_code() -> None:
    found = vmx.scan(elf(NOP * 64, data=b"".join(ALL) * 50))
    assert set(found.hits.values()) == {0}
    assert found.code_bytes == 64
    assert not found.possible


@pytest.mark.parametrize(
    ("code", "certain", "possible"),
    [
        (b"".join(ALL), True, True),
        (VMXON + VMPTRLD + VMLAUNCH, True, True),
        (VMXON + VMPTRLD + VMRESUME, True, True),
        (VMXON + VMPTRLD, False, True),
        (VMPTRLD + VMLAUNCH, False, True),
        (VMLAUNCH + VMRESUME, False, True),
        (VMXON, False, True),
        (VMLAUNCH, False, False),
        (VMPTRLD, False, False),
        (VMREAD * 300 + VMWRITE * 300, False, False),
        (VMLAUNCH + VMREAD * 300 + VMWRITE * 300, True, False),
        (VMLAUNCH + VMREAD * 300 + VMWRITE * 4, False, False),
        (VMLAUNCH + VMREAD * 300 + VMWRITE * 5, True, False),
        (NOP * 1000, False, False),
    ],
)
def test_how_sure(code: bytes, certain: bool, possible: bool) -> None:
    found = vmx.scan(elf(code))
    assert (found.certain, found.possible) == (certain, possible)


def test_a_large_module_has_some_of_the_bytes() -> None:
    """Twenty of each field instruction are nothing in 16 MiB, and a hypervisor in a small module."""
    code = VMLAUNCH + (VMREAD + VMWRITE) * 20
    assert vmx.scan(elf(code)).certain
    assert not vmx.scan(elf(code + NOP * (16 << 20))).certain


def test_who_calls_the_kernels_handler() -> None:
    assert vmx.scan(elf(NOP, strings=b"\0printk\0handle_guest_split_lock\0")).handles
    assert not vmx.scan(elf(NOP, strings=b"\0my_handle_guest_split_lock\0")).handles


def test_damaged_files_are_value_errors() -> None:
    whole = elf(b"".join(ALL))
    for cut in [0, 3, 6, 40, 63, len(whole) - 1, len(whole) - 300]:
        with pytest.raises(ValueError, match=r"ELF|cut|section"):
            vmx.scan(whole[:cut])
    with pytest.raises(ValueError, match="ELF"):
        vmx.scan(b"\x7fELF\x01" + whole[5:])


@given(st.binary(max_size=200), st.integers(0, 63))
def test_no_bytes_make_it_fail_otherwise(noise: bytes, at: int) -> None:
    whole = elf(b"".join(ALL))
    with contextlib.suppress(ValueError):
        vmx.scan(whole[:at] + noise + whole[at + len(noise) :])
