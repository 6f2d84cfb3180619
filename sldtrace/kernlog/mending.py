"""Joins the parts of a message: lines that mail wrapped, and lines that another message interrupted."""

import re
from collections.abc import Iterator
from itertools import islice

from sldtrace.host.vms.threads import vcpu_of
from sldtrace.kernlog import message
from sldtrace.kernlog.message import Message, Trap, Unknown
from sldtrace.kernlog.stream import Line

_HEAD = b"x86/split lock detection: #"
_LEAST = 4  # bytes of the beginning that have to be left
_LINES = 3  # between the parts
_STAMP = re.compile(rb"\[ *\d{1,10}\.\d{1,9}\]")
_STAMPED = re.compile(
    rb"[>|\s]*(?:<\d+>)?(?:\[ *[+\d]|\d{4}-\d\d-\d\d|[A-Z][a-z]{2} [ \d]\d \d\d:|[A-Z][a-z]{2}, )"
)
_QUOTE = re.compile(rb"[>|\s]*(?:#\s+)?")
_HEX = re.compile(rb"[0-9a-f]{1,15}")
_COMM = 15  # bytes of a thread's name


def forward(line: Line) -> tuple[bytes, frozenset[int]] | None:
    """The line with the rest of its last message, and the numbers of the lines that the rest is in.

    None if no following line belongs to it.
    """
    text = line.text.rstrip()
    found = message.find(text)
    if not found or not isinstance(found[-1].message, Trap | Unknown):
        return None
    last = found[-1]
    # What interrupts a message begins with a time of its own.
    torn = _STAMP.search(text, last.start)
    heads, best, known = [text[: torn.start()] if torn else text], last.message, frozenset[int]()
    pending: list[int] = []
    for number, rest in _rests(line, quoted=not torn):
        pending.append(number)
        joints = (b"",) if torn or (isinstance(best, Trap) and best.address is not None) else (b" ", b"")
        joined = [head + joint + rest for head in heads for joint in joints]
        better = [(each, new) for each in joined if _better(new := _at(each, last.start), best, rest)]
        heads = joined
        if better:
            # Mail wraps at a blank, a terminal anywhere: a name that VMMs give decides.
            head, best = max(better, key=lambda each: _is_vcpu(each[1]))  # type: ignore[assignment]
            heads, known, pending = [head], known | set(pending), []
        if isinstance(best, Trap) and best.address is not None:
            break
    return (heads[0], known) if known and not pending else (head, known) if known else None


def backward(line: Line) -> bytes | None:
    """The line after the beginning of its message, which is in an earlier line; None if it is in none."""
    text = _QUOTE.sub(b"", line.text, count=1)
    for _, earlier in islice(line.before(), _LINES):
        for length in range(len(_HEAD))[:_LEAST:-1]:
            begin, rest = _HEAD[:length], _HEAD[length:].lstrip()
            if not text.startswith(rest):
                continue
            at = earlier.rfind(begin.rstrip())
            after = earlier[at + len(begin.rstrip()) :].lstrip()
            if at >= 0 and (not after or _STAMP.match(after)):
                return earlier[:at] + _HEAD + text[len(rest) :]
    return None


def _rests(line: Line, quoted: bool) -> Iterator[tuple[int, bytes]]:
    for number, text in islice(line.after(), _LINES):
        if not _STAMPED.match(text) and text.strip():
            yield number, (_QUOTE.sub(b"", text, count=1) if quoted else text).rstrip()


def _at(text: bytes, start: int) -> Message | None:
    return next((each.message for each in message.find(text) if each.start == start), None)


def _better(new: Message | None, old: Message, rest: bytes) -> bool:
    match new, old:
        case Unknown() | None, _:
            return False
        case Trap(address=address), Trap(address=None):
            return address is not None
        case Trap(), Trap():
            return bool(_HEX.fullmatch(rest))
    return not isinstance(new, Trap) or len(new.comm) <= _COMM


def _is_vcpu(found: Message | None) -> bool:
    return isinstance(found, Trap) and vcpu_of(found.comm.decode("utf-8", "replace")) is not None
