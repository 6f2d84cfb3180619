"""Amounts of bytes on the command line: parsed to whole bytes, and written out again."""

import re

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SHAPE = re.compile(r"([0-9]{1,15})\s*([KMGT]?)(?:iB|B)?", re.ASCII | re.IGNORECASE)


def parse(text: str) -> int:
    """Bytes in a text such as `200M`, `1GiB`, `64KB` or `4096`: powers of 1024, with or without `B` or `iB`.

    Raises ValueError, with one line, for anything else.
    """
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not an amount of bytes such as 200M or 1G")
    return int(match[1]) * _UNITS[match[2].upper()]


def render(size: int) -> str:
    """The shortest exact text: 200M, 1G, 1500K, 4097."""
    for unit in ("T", "G", "M", "K"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)
