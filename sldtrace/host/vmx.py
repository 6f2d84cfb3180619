"""Finds VMX instructions in a module's code, which a hypervisor on Intel other than KVM has.

Such a module handles the #AC of its guests' split locks itself, and wrongly unless it calls
handle_guest_split_lock (LWN, "VMX virtualization runs afoul of split-lock detection"). 6276c67f2bc4 (6.19)
exports that function to KVM alone.

The encodings are two to four bytes long, so other code and constants have some of these byte sequences too:
the background. A file with far more of them than ordinary code of its size is a hypervisor.
"""

import re
import struct
from dataclasses import dataclass

from sldtrace.host.kallsyms import HANDLER

_SHF_EXECINSTR = 4
_SHT_NOBITS = 8
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")

# Intel SDM volume 3, chapter "VMX instruction reference". The last byte of VMXON and VMPTRLD is a ModRM with
# /6 and a memory operand (with a register it is RDRAND); a REX prefix may be between F3 and 0F.
_PATTERNS = {
    "VMXON": re.compile(rb"\xf3[\x40-\x4f]?\x0f\xc7[\x30-\x37\x70-\x77\xb0-\xb7]"),
    "VMPTRLD": re.compile(rb"(?<![\xf3\x66])\x0f\xc7[\x30-\x37\x70-\x77\xb0-\xb7]"),
    "VMLAUNCH": re.compile(rb"\x0f\x01\xc2"),
    "VMRESUME": re.compile(rb"\x0f\x01\xc3"),
    "VMREAD": re.compile(rb"\x0f\x78"),
    "VMWRITE": re.compile(rb"\x0f\x79"),
}
# Occurrences in a MiB of code that has no VMX instructions: counted by `scan` in 350 MiB of Debian 12's
# libraries and programs, with one added to each count so that none is 0.
_BACKGROUND_PER_MIB = {
    "VMXON": 1 / 350,
    "VMPTRLD": 4 / 350,
    "VMLAUNCH": 26 / 350,
    "VMRESUME": 61 / 350,
    "VMREAD": 197 / 350,
    "VMWRITE": 202 / 350,
}


@dataclass(frozen=True)
class Scan:
    """The contents of a module's executable sections.

    hits: how often each encoding occurs; background: how often it occurs in as much code without VMX
    instructions; handles: does the module call handle_guest_split_lock?
    """

    code_bytes: int
    hits: dict[str, int]
    background: dict[str, float]
    handles: bool

    @property
    def certain(self) -> bool:
        """It enters guests, and either turns VMX on and loads a VMCS, or reads and writes fields of one.

        kvm-intel itself has some 300 of VMREAD and of VMWRITE each, and since 7.x no VMXON.
        """
        enters = bool(self.hits["VMLAUNCH"] or self.hits["VMRESUME"])
        begins = bool(self.hits["VMXON"] and self.hits["VMPTRLD"])
        fields = all(self.hits[name] > 4 + 8 * self.background[name] for name in ("VMREAD", "VMWRITE"))
        return enters and (begins or fields)

    @property
    def possible(self) -> bool:
        """It has two of the encodings that are rare in other code, or that of VMXON, which is in none."""
        rare = sum(1 for name in ("VMPTRLD", "VMLAUNCH", "VMRESUME") if self.hits[name])
        return bool(self.hits["VMXON"]) or rare > 1


def scan(elf: bytes) -> Scan:
    """Scans a module's ELF file (64-bit, little-endian). Raises ValueError where it is none."""
    code = _executable(elf)
    size = sum(len(part) for part in code)
    hits = {
        name: sum(sum(1 for _ in pattern.finditer(part)) for part in code)
        for name, pattern in _PATTERNS.items()
    }
    background = {name: count * size / (1 << 20) for name, count in _BACKGROUND_PER_MIB.items()}
    return Scan(size, hits, background, f"\0{HANDLER}\0".encode() in elf)


def _executable(elf: bytes) -> list[memoryview]:
    if elf[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit ELF file")
    try:
        header = _HEADER.unpack_from(elf)
        first, size, count = header[6], header[11], header[12]
        if size < _SECTION.size:
            raise ValueError("no section headers")
        parts = []
        for index in range(count):
            _, kind, flags, _, offset, length, *_ = _SECTION.unpack_from(elf, first + index * size)
            if flags & _SHF_EXECINSTR and kind != _SHT_NOBITS:
                if offset + length > len(elf):
                    raise ValueError("a section is cut off")
                parts.append(memoryview(elf)[offset : offset + length])
    except (struct.error, OverflowError):
        raise ValueError("the ELF headers are cut off or damaged") from None
    return parts
