"""The bundled guests: their descriptions (comment of the .S) and addresses (header of the .bin)."""

import dataclasses
import re
import struct
from dataclasses import dataclass
from typing import NamedTuple

from sldtrace import resources
from sldtrace.errors import SldtraceError, UsageError
from sldtrace.text.escape import escape
from sldtrace.vmm import memory

CACHE_LINE = 64

# guests/abi.inc: magic, offsets of `start` and `locked`, offset and width of the operand, every, privileged.
_HEADER = struct.Struct("<8s4H2I")
_MAGIC = b"SLDGUEST"

_COMMENT = re.compile(r"/\*(.*?)\*/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Guest:
    """A bundled guest. Addresses are the guest's own (virtual and physical are the same); sizes in bytes."""

    name: str
    summary: str
    notes: tuple[tuple[str, str], ...]  # of the comment: (key, text) such as ("Provokes", "one #AC ...")
    image: bytes
    start: int  # address of the first instruction
    locked: int  # address of the instruction under test: the RIP of a trap
    operand: int  # address of vCPU 0's operand
    width: int  # size of the operand; 0: it has none
    every: int = 0  # N of a guest that does something once in N loops, else 0
    privileged: bool = False  # whether it needs CPL 0 or the monitor's port

    @property
    def crosses_line(self) -> bool:
        """Is the operand in two cache lines, and so the instruction a split lock?"""
        return self.operand % CACHE_LINE + self.width > CACHE_LINE

    def adjusted(self, offset: int | None = None, every: int | None = None) -> "Guest":
        """The same guest with its operand `offset` bytes (0 to 63) into a cache line, and another N.

        Raises UsageError where the guest has no operand, or no N.
        """
        if offset is not None and not self.width:
            raise UsageError(f"guest {self.name} has no operand that could be at an offset")
        if every is not None and not self.every:
            raise UsageError(f"guest {self.name} does nothing once in N loops")
        return dataclasses.replace(
            self,
            operand=self.operand if offset is None else memory.OPERAND + offset,
            every=self.every if every is None else every,
        )


def names() -> list[str]:
    """Names of the bundled guests, sorted. Raises SldtraceError if their folder is missing."""
    return sorted(path.stem for path in resources.guests().glob("*.S"))


def load(name: str) -> Guest:
    """The guest of this name.

    Raises UsageError if there is none, SldtraceError if its files cannot be read or are not a guest's.
    """
    if name not in names():
        raise UsageError(f"there is no guest '{escape(name)}'", f"there are: {', '.join(names())}")
    source = resources.guests() / f"{name}.S"
    try:
        text = source.read_text(encoding="utf-8")
        image = source.with_suffix(".bin").read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise SldtraceError(f"guest '{name}' cannot be read: {error}", "install sldtrace again") from error
    summary, notes = parse_comment(name, text)
    header = parse_header(name, image)
    return Guest(
        name=name,
        summary=summary,
        notes=notes,
        image=image,
        start=memory.CODE + header.start,
        locked=memory.CODE + header.locked,
        operand=memory.OPERAND + header.operand,
        width=header.width,
        every=header.every,
        privileged=bool(header.privileged),
    )


class Header(NamedTuple):
    """The header of an image: offsets of `start` and `locked` in it, and of the operand in its area."""

    start: int
    locked: int
    operand: int
    width: int
    every: int
    privileged: int


def parse_header(name: str, image: bytes) -> Header:
    """The header of an image.

    Raises SldtraceError if the image has none or a number is out of its range.
    """
    if len(image) > _HEADER.size:
        magic, *numbers = _HEADER.unpack_from(image)
        header = Header(*numbers)
        inside = all(_HEADER.size <= offset < len(image) for offset in (header.start, header.locked))
        if magic == _MAGIC and inside and header.operand < CACHE_LINE and header.width <= CACHE_LINE:
            return header
    raise SldtraceError(f"{name}.bin is not the image of a guest", "run guests/assemble.py or install again")


def parse_comment(name: str, text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The summary and the notes of a source's first comment.

    Its form: a line `<name>: <summary>`, an empty line, then notes `<key>: <text>`, whose further lines
    are indented. Raises SldtraceError for another form.
    """
    comment = _COMMENT.search(text)
    lines = [line.removeprefix(" *").rstrip() for line in comment[1].splitlines()] if comment else []
    summary = ""
    notes: list[tuple[str, str]] = []
    for line in (line.removeprefix(" ") for line in lines):
        if line.startswith(f"{name}: "):
            summary = line.removeprefix(f"{name}: ")
        elif summary and line[:1].isspace() and notes:
            key, note = notes[-1]
            notes[-1] = key, f"{note} {line.strip()}"
        elif summary and ": " in line:
            key, note = line.split(": ", 1)
            notes.append((key, note))
        elif summary and line:
            raise SldtraceError(f"{name}.S: '{line}' is neither a note nor the indented rest of one")
    if not (summary and notes):
        raise SldtraceError(f"{name}.S does not begin with a comment '{name}: ...' and notes")
    return summary, tuple(notes)
