"""The guest's memory: where everything lies, and the page tables that map it to itself."""

import ctypes
import mmap
import struct

from sldtrace.errors import SldtraceError

PAGE = 0x1000

# Guest-physical and, by the identity map, guest-virtual addresses.
PML4 = 0x1000
PDPT = 0x2000
PAGE_DIRECTORY = 0x3000
CODE = 0x4000  # the image of a guest, up to CODE_LIMIT
CODE_LIMIT = 0x8000
OPERAND = 0x8000  # the area of the operand: one page
COUNTER = 0x9000  # 64-bit counter of finished loops
STACK_TOP = 0xB000  # the stack is the page below
SIZE = 0x10000

# Page-table entry bits (Intel SDM volume 3, table 5-20 "Format of a Page-Table Entry" and its neighbours).
_PRESENT_WRITABLE = 0b11
_PAGE_SIZE = 1 << 7

_ENTRY = struct.Struct("<Q")


class GuestMemory:
    """`SIZE` bytes of zeroed anonymous memory with identity page tables for the first 2 MiB.

    Addresses above SIZE are mapped but are no memory: an access there ends KVM_RUN with KVM_EXIT_MMIO.
    Raises SldtraceError if the memory cannot be had or an image does not fit.
    """

    def __init__(self) -> None:
        try:
            self._map = mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise SldtraceError(f"no memory for the guest: {error.strerror}") from error
        for table, entry in (
            (PML4, PDPT | _PRESENT_WRITABLE),
            (PDPT, PAGE_DIRECTORY | _PRESENT_WRITABLE),
            (PAGE_DIRECTORY, 0 | _PRESENT_WRITABLE | _PAGE_SIZE),
        ):
            _ENTRY.pack_into(self._map, table, entry)

    def load(self, image: bytes) -> None:
        """Puts a guest's image at CODE."""
        if len(image) > CODE_LIMIT - CODE:
            raise SldtraceError(f"the guest has {len(image)} bytes, there is room for {CODE_LIMIT - CODE}")
        self._map[CODE : CODE + len(image)] = image

    def counter(self) -> int:
        """Loops that the guest has finished, modulo 2**64."""
        value: int = _ENTRY.unpack_from(self._map, COUNTER)[0]
        return value

    def address(self) -> int:
        """Where the memory lies in this process (for KVM_SET_USER_MEMORY_REGION)."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def close(self) -> None:
        """Gives the memory back; the VM must be gone."""
        self._map.close()
