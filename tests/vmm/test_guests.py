"""The registry of guests: what is read from comments and headers, and what is refused."""

import struct

import pytest

from sldtrace.errors import SldtraceError, UsageError
from sldtrace.vmm import guests, memory


def header(start: int = 24, locked: int = 24, operand: int = 0x3C, width: int = 8) -> bytes:
    return struct.pack("<8s4I", b"SLDGUEST", start, locked, operand, width) + b"\xeb\xfe"


def test_both_bundled_guests_are_there() -> None:
    assert {"split-bts", "aligned-bts"} <= set(guests.names())


def test_split_crosses_a_line_and_its_control_does_not() -> None:
    split, aligned = guests.load("split-bts"), guests.load("aligned-bts")
    assert split.crosses_line
    assert not aligned.crosses_line
    assert split.operand % 64 == 60
    # Nothing else differs: same code, same addresses of instructions.
    assert split.image[24:] == aligned.image[24:]
    assert split.locked == aligned.locked


@pytest.mark.parametrize("name", guests.names())
def test_every_guest_says_what_it_does_provokes_and_what_to_expect(name: str) -> None:
    guest = guests.load(name)
    keys = [key for key, _ in guest.notes]
    assert guest.summary
    assert keys[:2] == ["Does", "Provokes"]
    assert any(key.startswith("Expect ") for key in keys)
    assert all(note and "*" not in note for _, note in guest.notes)


def test_unknown_guest_names_those_that_exist() -> None:
    with pytest.raises(UsageError, match=r"no guest '\.\./etc/passwd'.*split-bts"):
        guests.load("../etc/passwd")


def test_header_is_read() -> None:
    assert guests.parse_header("x", header(24, 25, 4088, 8)) == (24, 25, 4088, 8)


@pytest.mark.parametrize(
    "image",
    [
        b"",
        header()[:24],  # no code
        b"x" + header()[1:],  # another magic
        header(start=26),  # behind the image
        header(locked=8),  # inside the header
        header(operand=4089),  # out of the operand's page
        header(operand=4096, width=1),
    ],
)
def test_bad_header_is_refused(image: bytes) -> None:
    with pytest.raises(SldtraceError, match="not the image of a guest"):
        guests.parse_header("x", image)


def test_comment_joins_indented_lines() -> None:
    text = "/* SPDX\n *\n * g: what it is\n *\n * Does: one\n *\ttwo\n * Expect a, b=1: c: d\n */\n\tnop\n"
    assert guests.parse_comment("g", text) == (
        "what it is",
        (("Does", "one two"), ("Expect a, b=1", "c: d")),
    )


@pytest.mark.parametrize(
    "text",
    ["", "\tnop\n", "/* other: x\n * Does: y\n */", "/*\n * g: x\n */", "/*\n * g: x\n * stray line\n */"],
)
def test_bad_comment_is_refused(text: str) -> None:
    with pytest.raises(SldtraceError, match=r"g\.S"):
        guests.parse_comment("g", text)


def test_memory_areas_do_not_overlap() -> None:
    starts = [
        memory.PML4,
        memory.PDPT,
        memory.PAGE_DIRECTORY,
        memory.CODE,
        memory.OPERAND,
        memory.COUNTER,
        memory.STACK_TOP - memory.PAGE,
        memory.SIZE,
    ]
    assert starts == sorted(set(starts))
    assert all(start % memory.PAGE == 0 for start in starts)
    assert memory.CODE_LIMIT <= memory.OPERAND
    assert memory.STACK_TOP <= memory.SIZE
