"""A relocatable ELF file as kernel modules are: sections with and without executable code."""

import struct

EXECUTABLE, WRITABLE = 6, 3  # SHF_ALLOC with SHF_EXECINSTR or SHF_WRITE


def elf(code: bytes, data: bytes = b"", strings: bytes = b"\0") -> bytes:
    """Sections: none, .text, .data, .strtab, and .bss, which is executable and has no bytes."""
    sections = [(1, EXECUTABLE, code), (1, WRITABLE, data), (3, 0, strings)]
    body = b"".join(content for *_, content in sections)
    table = struct.pack("<IIQQQQIIQQ", *[0] * 10)
    offset = 64
    for kind, flags, content in sections:
        table += struct.pack("<IIQQQQIIQQ", 0, kind, flags, 0, offset, len(content), 0, 0, 1, 0)
        offset += len(content)
    table += struct.pack("<IIQQQQIIQQ", 0, 8, EXECUTABLE, 0, offset, 1 << 40, 0, 0, 1, 0)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, 62, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, 5, 3
    )
    return header + body + table


# A program that turns VMX on, loads a VMCS, enters the guest, and uses the fields of the VMCS.
VMXON = bytes.fromhex("f30fc7742408")
VMPTRLD = bytes.fromhex("0fc7742408")
VMLAUNCH = bytes.fromhex("0f01c2")
VMRESUME = bytes.fromhex("0f01c3")
VMREAD = bytes.fromhex("0f78c2")
VMWRITE = bytes.fromhex("0f79c2")
RDRAND = bytes.fromhex("0fc7f0")
VMCLEAR = bytes.fromhex("660fc7742408")
CMPXCHG16B = bytes.fromhex("f0480fc70f")
NOP = b"\x90"
