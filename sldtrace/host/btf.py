"""Looks up names and offsets in the kernel's BTF."""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

PATH = Path("/sys/kernel/btf/vmlinux")

# include/uapi/linux/btf.h: struct btf_header, btf_type, btf_member
_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MEMBER = struct.Struct("<III")
_KIND_STRUCT = 4


def exists(path: Path = PATH) -> bool:
    """Does the kernel have BTF? fentry requires it, kprobes do not."""
    return path.exists()


def names(wanted: Iterable[str], path: Path = PATH) -> set[str]:
    """Those of the names that are in the kernel's BTF, which may have no static functions."""
    try:
        strings = path.read_bytes()
    except OSError:
        return set()
    return {name for name in wanted if f"\0{name}\0".encode() in strings}


def offsets(name: str, members: Iterable[str], path: Path = PATH) -> dict[str, int]:
    """Offsets in bytes of these members of the structure `name`, as far as they are in BTF.

    A member is left out if it is in an anonymous structure (CONFIG_RANDSTRUCT), is a bit field, or has
    different offsets in different definitions. The types are not parsed, which takes seconds on a slow host:
    the definition is found by the offset of its name in the string section.
    """
    try:
        data = path.read_bytes()
        magic, _, _, length, types, types_length, strings, strings_length = _HEADER.unpack_from(data)
    except (OSError, struct.error):
        return {}
    if magic != _MAGIC:
        return {}
    begin, end = length + types, length + types + types_length
    text = data[length + strings : length + strings + strings_length]
    found: dict[str, set[int]] = {each: set() for each in members}
    places = {place: each for each in found if (place := _place(text, each)) is not None}
    for where in _structures(data, begin, end, _place(text, name)):
        _, info, _ = _TYPE.unpack_from(data, where)
        first = where + _TYPE.size
        last = min(end, first + (info & 0xFFFF) * _MEMBER.size)
        for place, _, offset in _MEMBER.iter_unpack(data[first : last - (last - first) % _MEMBER.size]):
            bit_field = info >> 31 and offset >> 24  # kind_flag: then its size is in the upper bits
            if place in places and not bit_field:
                found[places[place]].add(offset // 8)
    return {each: where.pop() for each, where in found.items() if len(where) == 1}


# The offset of a name in the string section, which has each name once.
def _place(text: bytes, name: str) -> int | None:
    place = text.find(f"\0{name}\0".encode())
    return place + 1 if place >= 0 else None


# The offsets of the structures of that name. The same number may occur in another role, but then what follows
# is not the head of a structure.
def _structures(data: bytes, begin: int, end: int, place: int | None) -> Iterator[int]:
    if place is None:
        return
    mark, where = struct.pack("<I", place), begin
    while (where := data.find(mark, where, end - _TYPE.size + 1)) >= 0:
        _, info, size = _TYPE.unpack_from(data, where)
        count = info & 0xFFFF
        if where % 4 == 0 and info >> 24 & 0x1F == _KIND_STRUCT and 0 < count <= size:
            yield where
        where += 1
