"""Selects the lines that may be about split locks from a log of any size, in constant memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

LINE_LIMIT = 64 << 10
"""Bytes of a line that are parsed; the kernel's longest has 1 KiB (printk, LOG_LINE_MAX)."""

_BLOCK = 1 << 20
# Each relevant line contains one of these. A MESSAGE that is an array of bytes (Journal JSON Format) has to
# be decoded first. Plain searches are far faster than one regular expression.
_NAMES = (
    b"split_lock",
    b"bus_lock",
    b"plit lock detect",
    b"Linux version ",
    b"RIP: 0010:",
    b'"MESSAGE":[',
    b'"MESSAGE" : [',
)


class Readable(Protocol):
    """A log that can be read."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; none at the end."""


@dataclass
class Tally:
    """lines: how many were read; cut: of how many only the first LINE_LIMIT bytes were parsed."""

    lines: int = 0
    cut: int = 0


def candidates(log: Readable, tally: Tally) -> Iterator[tuple[int, bytes]]:
    """Number (from 1, continued from `tally.lines`) and text of each line that may be relevant.

    The text is without its newline and cut at LINE_LIMIT. `tally` is complete at the end. A last line without
    a newline is a line. Raises what `log.read` raises.
    """
    rest, skipping = b"", False
    while chunk := log.read(_BLOCK):
        if skipping:
            end = chunk.find(b"\n")
            if end < 0:
                continue
            chunk, skipping = chunk[end:], False
        data = rest + chunk
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        yield from _in_block(data[:end], tally)
        if len(rest) > LINE_LIMIT:
            # One byte more than is parsed marks it as cut.
            rest, skipping = rest[: LINE_LIMIT + 1], True
    if rest:
        yield from _in_block(rest + b"\n", tally)


def _in_block(block: bytes, tally: Tally) -> Iterator[tuple[int, bytes]]:
    found: dict[int, int] = {}
    for name in _NAMES:
        at = block.find(name)
        while at >= 0:
            end = block.index(b"\n", at)
            found[block.rfind(b"\n", 0, at) + 1] = end
            at = block.find(name, end)
    number, seen = tally.lines + 1, 0
    for start in sorted(found):
        number += block.count(b"\n", seen, start)
        seen = start
        line = block[start : found[start]]
        tally.cut += len(line) > LINE_LIMIT
        yield number, line[:LINE_LIMIT]
    tally.lines += block.count(b"\n")
