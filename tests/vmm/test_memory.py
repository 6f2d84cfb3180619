"""The guest's memory: page tables walked as the processor does, and its bounds."""

import ctypes
import struct

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.vmm import memory
from sldtrace.vmm.memory import GuestMemory

PRESENT, WRITABLE, LARGE = 1, 2, 1 << 7


def read(guest: GuestMemory, address: int, size: int) -> bytes:
    return ctypes.string_at(guest.address() + address, size)


def translate(guest: GuestMemory, virtual: int) -> int | None:
    """The physical address, by a walk of 4-level paging (Intel SDM volume 3, 5.5.4); None: not present."""
    table = memory.PML4
    for shift in (39, 30, 21, 12):
        (entry,) = struct.unpack("<Q", read(guest, table + (virtual >> shift) % 512 * 8, 8))
        if not entry & PRESENT:
            return None
        assert entry & WRITABLE
        base = entry & 0x000F_FFFF_FFFF_F000
        if shift == 12 or entry & LARGE:
            return int(base + virtual % (1 << shift))
        table = base
    raise AssertionError("not reached")


@pytest.mark.parametrize("address", [0, memory.CODE, memory.OPERAND + 0x3C, memory.COUNTER, memory.SIZE - 1])
def test_memory_is_mapped_to_itself(address: int) -> None:
    assert translate(GuestMemory(), address) == address


@pytest.mark.parametrize("address", [2 << 20, 1 << 30, 1 << 39, (1 << 48) - 1])
def test_the_rest_is_not_mapped(address: int) -> None:
    assert translate(GuestMemory(), address) is None


def test_image_lands_at_code_and_counter_is_64_bits() -> None:
    guest = GuestMemory()
    guest.load(b"\x90\xf4")
    assert read(guest, memory.CODE, 3) == b"\x90\xf4\x00"
    assert guest.counter() == 0
    ctypes.memmove(guest.address() + memory.COUNTER, struct.pack("<Q", 2**64 - 2), 8)
    assert guest.counter() == 2**64 - 2


def test_largest_image_fits_and_a_larger_one_is_refused() -> None:
    guest = GuestMemory()
    room = memory.CODE_LIMIT - memory.CODE
    guest.load(b"\x90" * room)
    assert read(guest, memory.CODE_LIMIT - 1, 2) == b"\x90\x00"
    with pytest.raises(SldtraceError, match="of at most"):
        guest.load(b"\x90" * (room + 1))
