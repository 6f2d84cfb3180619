"""Selects the lines that may be about split locks from a log of any size, in constant memory."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from sldtrace.kernlog.unpack import Readable

LINE_LIMIT = 64 << 10
"""Bytes of a line that are parsed; the kernel's longest has 1 KiB (printk, LOG_LINE_MAX)."""
DOCUMENT_LIMIT = 8 << 20
"""The same of a line that begins as JSON: an answer of Loki or Elasticsearch is one line."""
CONTEXT = 64 << 10
"""Bytes around a line that are kept, because its record may have other lines."""

_BLOCK = 2 << 20
# Each relevant line contains one of these. Plain searches are far faster than one regular expression.
_NAMES = (b"split_lock", b"bus_lock", b"plit lock detect", b"Linux version ", b"Hypervisor detected: ")
_BLOB = b"B blob data]"  # how journalctl shows a message that is not printable
# A MESSAGE that is an array of bytes (Journal JSON Format) has to be decoded first.
_ARRAYS = (b'"MESSAGE":[', b'"MESSAGE": [', b'"MESSAGE" : [')
# Colours may be inside of a word: grep highlights what it was asked for.
_COLOURED = (b"split", b"bus", b"lock")
_JOURNAL_MARKS = b"-- "  # a line of journalctl: -- Boot ID --, -- Reboot --

_KERNEL = re.compile(
    rb"\bkernel(?:\[\d+\])?: |[\[<] ?[ +]*\d{1,10}[.,]\d{1,9}[ \]>@]|_TRANSPORT\"? ?[=:] ?\"?kernel\b"
    rb"|^\d{1,4},\d{1,20},\d{1,16},|\"dmesg\": \[|\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} \d{4}\]"
    rb"|\[[A-Z][a-z]{2} ?\d{1,2} \d\d:\d\d\]|\"(?:facility|ident|appname)\" ?: ?\"kern|Linux version \d",
    re.MULTILINE,
)
_KERNEL_SEARCHED = 64 << 10  # bytes of each block


@dataclass
class Tally:
    """lines: how many were read; cut: how many were longer than is parsed; bytes: unpacked.

    kernel: a line was seen that looks like one of the kernel's log, whatever it is about.
    """

    lines: int = 0
    cut: int = 0
    bytes: int = 0
    kernel: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line and what is around it.

    number: from 1; text: without its newline, at most the limit; cut: there is more of it. start, end: of the
    line in `block`, which has CONTEXT bytes on both sides where the log has them.
    """

    number: int
    text: bytes
    cut: bool = False
    block: bytes = field(default=b"", repr=False)
    start: int = 0
    end: int = 0

    def before(self) -> Iterator[tuple[int, bytes]]:
        """Number and text of the lines before it, the nearest first."""
        end, number = self.start - 1, self.number - 1
        while end >= 0 and number > 0:
            start = self.block.rfind(b"\n", 0, end) + 1
            yield number, self.block[start:end]
            end, number = start - 1, number - 1

    def after(self) -> Iterator[tuple[int, bytes]]:
        """Number and text of the lines after it."""
        start, number = self.end + 1, self.number + 1
        while start < len(self.block):
            end = self.block.find(b"\n", start)
            end = len(self.block) if end < 0 else end
            yield number, self.block[start:end]
            start, number = end + 1, number + 1


def candidates(log: Readable, tally: Tally) -> Iterator[Line]:
    """Each line that may be relevant; the numbers continue from `tally.lines`.

    `tally` is complete at the end. A last line without a newline is a line. Raises what `log.read` raises.
    """
    block, at, skipping, ended = b"", 0, False, False
    marks: bool | None = None  # has the first block a line of journalctl itself?
    while not ended:
        chunk = log.read(_BLOCK)
        ended = not chunk
        tally.bytes += len(chunk)
        kept = max(at - CONTEXT, 0)
        block, at = block[kept:] + chunk, at - kept
        if marks is None:
            marks = block.startswith(_JOURNAL_MARKS) or b"\n" + _JOURNAL_MARKS in block
        if skipping:
            end = block.find(b"\n", at)
            if end < 0:
                block, at = b"", 0
                continue
            block, at, skipping = block[end + 1 :], 0, False
        if ended and at < len(block) and not block.endswith(b"\n"):
            block += b"\n"
        last = len(block) if ended else block.rfind(b"\n", at, max(len(block) - CONTEXT, at)) + 1
        if last > at:
            yield from _in_block(block, at, last, tally, marks)
            at = last
        limit = _limit(block, at)
        if len(block) - at > limit + CONTEXT and block.find(b"\n", at) < 0:
            # One byte more than is parsed marks it as cut.
            cut = block[: at + limit + 1] + b"\n"
            yield from _in_block(cut, at, len(cut), tally, marks)
            block, at, skipping = b"", 0, True


def _limit(block: bytes, at: int) -> int:
    return DOCUMENT_LIMIT if block[at : at + 64].lstrip()[:1] in (b"{", b"[") else LINE_LIMIT


def _in_block(block: bytes, start: int, end: int, tally: Tally, marks: bool) -> Iterator[Line]:
    names: tuple[bytes, ...] = (*_NAMES, _BLOB)
    if block.find(b"{", start, end) >= 0:
        names += _ARRAYS
    if block.find(b"\x1b", start, end) >= 0:
        names += _COLOURED
    if marks:
        names += (b"\n" + _JOURNAL_MARKS,)
    found: dict[int, int] = {}
    for name in names:
        at = block.find(name, start, end)
        while at >= 0:
            at += name.startswith(b"\n")
            stop = block.index(b"\n", at)
            found[block.rfind(b"\n", 0, at) + 1] = stop
            at = block.find(name, stop, end)
    if not tally.kernel:
        tally.kernel = bool(_KERNEL.search(block, start, min(end, start + _KERNEL_SEARCHED)))
    number, seen = tally.lines + 1, start
    for first in sorted(found):
        number += block.count(b"\n", seen, first)
        seen = first
        stop, limit = found[first], _limit(block, first)
        cut = stop - first > limit
        tally.cut += cut
        yield Line(number, block[first : min(stop, first + limit)], cut, block, first, stop)
    tally.lines += block.count(b"\n", start, end)
