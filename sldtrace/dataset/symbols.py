"""Names of the guest's functions, from a file of the guest: System.map, /proc/kallsyms, or an ELF file.

With KASLR the addresses in System.map and vmlinux are not those of the running guest; /proc/kallsyms has
them.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sldtrace.errors import SldtraceError
from sldtrace.text.escape import escape

_ELF = b"\x7fELF"
_SYMTAB, _DYNSYM, _FUNC, _NOTYPE = 2, 11, 2, 0  # elf(5): SHT_..., STT_...
_MOST = 1 << 24  # bytes after a symbol without size that are still named after it
_NAME = 100


@dataclass(frozen=True)
class Symbols:
    """Functions by address, in order; sizes: in bytes, 0 where it is not known."""

    addresses: list[int]
    names: list[str]
    sizes: list[int]

    def name(self, address: int) -> str | None:
        """`set_bit+0x12`; None where no function is known."""
        at = bisect_right(self.addresses, address) - 1
        if at < 0:
            return None
        offset = address - self.addresses[at]
        if offset >= (self.sizes[at] or _MOST):
            return None
        return f"{self.names[at]}+{offset:#x}" if offset else self.names[at]


def read(path: Path) -> Symbols:
    """The functions in that file. Raises SldtraceError if it cannot be read or has none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SldtraceError(f"cannot read {escape(str(path), 4096)}: {error.strerror}") from error
    try:
        found = sorted(_of_elf(data) if data.startswith(_ELF) else _of_text(data))
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise SldtraceError(f"{escape(str(path), 4096)} is a damaged ELF file") from error
    if not any(address for address, _, _ in found):
        hint = "use System.map, /proc/kallsyms (read as root), or an ELF file with symbols, of the guest"
        raise SldtraceError(f"there are no addresses of functions in {escape(str(path), 4096)}", hint)
    names = [escape(name, _NAME) for _, name, _ in found]
    return Symbols([each[0] for each in found], names, [each[2] for each in found])


# Lines of `address type name [module]`; t and w are functions, in upper case global ones (nm(1)).
def _of_text(data: bytes) -> Iterator[tuple[int, str, int]]:
    for line in data.decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) >= 3 and len(words[1]) == 1 and words[1] in "tTwW":
            try:
                yield int(words[0], 16), words[2], 0
            except ValueError:
                continue


def _of_elf(data: bytes) -> Iterator[tuple[int, str, int]]:
    wide = data[4] == 2
    order = "<" if data[5] == 1 else ">"
    header = struct.Struct(order + ("IIQQQQIIQQ" if wide else "IIIIIIIIII"))
    symbol = struct.Struct(order + ("IBBHQQ" if wide else "IIIBBH"))
    (where,) = struct.unpack_from(order + ("Q" if wide else "I"), data, 40 if wide else 32)
    size, count = struct.unpack_from(order + "HH", data, 58 if wide else 46)
    sections = [header.unpack_from(data, where + number * size) for number in range(count)]
    for section in sections:
        if section[1] not in (_SYMTAB, _DYNSYM):
            continue
        offset, length, link = section[4], section[5], section[6]
        strings = sections[link][4]
        for at in range(offset, offset + length - symbol.size + 1, symbol.size):
            if wide:
                name, info, _, defined, address, extent = symbol.unpack_from(data, at)
            else:
                name, address, extent, info, _, defined = symbol.unpack_from(data, at)
            if defined and address and info & 0xF in (_FUNC, _NOTYPE) and data[strings + name]:
                end = data.index(b"\0", strings + name)
                yield address, data[strings + name : end].decode("utf-8", "replace"), extent
