"""The guest's memory: its layout, and page tables with an identity map."""

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
OPERAND = 0x8000  # the operand of vCPU 0, in an area of AREA bytes; those of the others follow
AREA = 0x80  # two cache lines
COUNTER = 0x9000  # 64-bit counter of finished loops of vCPU 0; those of the others follow, a line each
STACKS = 0xA000  # a page of stack for each vCPU
MAX_VCPUS = 16
SIZE = STACKS + MAX_VCPUS * PAGE

# Page-table entry bits (Intel SDM volume 3, table 5-20 "Format of a Page-Table Entry" and its neighbours).
_OPEN = 0b111  # present, writable, for CPL 3 as well
_PAGE_SIZE = 1 << 7

_ENTRY = struct.Struct("<Q")


def counter(vcpu: int) -> int:
    """Address of the counter of this vCPU (0 to MAX_VCPUS - 1): in a cache line of its own."""
    return COUNTER + vcpu * 64


def stack_top(vcpu: int) -> int:
    """Address after the end of the stack of this vCPU."""
    return STACKS + (vcpu + 1) * PAGE


class GuestMemory:
    """`SIZE` bytes of zeroed anonymous memory with identity page tables for the first 2 MiB.

    Addresses above SIZE are mapped but are no memory: an access there ends KVM_RUN with KVM_EXIT_MMIO.
    Raises SldtraceError if the memory cannot be allocated or an image does not fit.
    """

    def __init__(
        self, flags: int = mmap.MAP_PRIVATE, protection: int = mmap.PROT_READ | mmap.PROT_WRITE
    ) -> None:
        try:
            self._map = mmap.mmap(-1, SIZE, flags | mmap.MAP_ANONYMOUS, protection)
        except OSError as error:
            raise SldtraceError(f"no memory for the guest: {error.strerror}") from error
        for table, entry in (
            (PML4, PDPT | _OPEN),
            (PDPT, PAGE_DIRECTORY | _OPEN),
            (PAGE_DIRECTORY, 0 | _OPEN | _PAGE_SIZE),
        ):
            _ENTRY.pack_into(self._map, table, entry)

    def load(self, image: bytes) -> None:
        """Copies a guest's image to CODE."""
        if len(image) > CODE_LIMIT - CODE:
            raise SldtraceError(f"the guest has {len(image)} bytes, of at most {CODE_LIMIT - CODE}")
        self._map[CODE : CODE + len(image)] = image

    def counter(self, vcpu: int = 0) -> int:
        """Loops that this vCPU of the guest has finished, modulo 2**64."""
        return self.quadword(counter(vcpu))

    def quadword(self, address: int) -> int:
        """The 64 bits at a guest's address."""
        value: int = _ENTRY.unpack_from(self._map, address)[0]
        return value

    def address(self) -> int:
        """Address of the memory in this process (for KVM_SET_USER_MEMORY_REGION)."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def close(self) -> None:
        """Releases the memory; the VM must have ended."""
        self._map.close()
