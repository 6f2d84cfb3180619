"""The registry of guests: what is read from comments and headers, and what is refused."""

import struct
from itertools import pairwise

import pytest

from sldtrace.errors import SldtraceError, UsageError
from sldtrace.vmm import guests, memory


def header(
    start: int = 24,
    locked: int = 24,
    operand: int = 0x3C,
    width: int = 8,
    every: int = 0,
    privileged: int = 0,
) -> bytes:
    return struct.pack("<8s4H2I", b"SLDGUEST", start, locked, operand, width, every, privileged) + b"\xeb\xfe"


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
    assert guests.parse_header("x", header(24, 25, 63, 8, 2**31, 1)) == (24, 25, 63, 8, 2**31, 1)


@pytest.mark.parametrize(
    "image",
    [
        b"",
        header()[:24],  # no code
        b"x" + header()[1:],  # another magic
        header(start=26),  # behind the image
        header(locked=8),  # inside the header
        header(operand=64),  # out of the operand's area
        header(width=65),
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


@pytest.mark.parametrize(
    ("name", "crossing"),
    [("split-bts", range(57, 64)), ("split-xchg", range(61, 64)), ("aligned-bts", range(57, 64))],
)
def test_the_offset_decides_whether_a_line_is_crossed(name: str, crossing: range) -> None:
    guest = guests.load(name)
    assert [offset for offset in range(64) if guest.adjusted(offset).crosses_line] == list(crossing)
    assert guest.adjusted(5).operand == memory.OPERAND + 5
    assert guest.adjusted() == guest


def test_n_is_the_headers_unless_another_is_wanted() -> None:
    guest = guests.load("rare-split")
    assert guest.every == 1_000_000
    assert guest.adjusted(every=7).every == 7


@pytest.mark.parametrize(("name", "change"), [("cpuid-loop", {"offset": 3}), ("split-bts", {"every": 3})])
def test_what_a_guest_does_not_have_cannot_be_changed(name: str, change: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=name):
        guests.load(name).adjusted(**change)


def test_memory_areas_do_not_overlap() -> None:
    last = memory.MAX_VCPUS - 1
    areas = [
        (memory.PML4, memory.PAGE),
        (memory.PDPT, memory.PAGE),
        (memory.PAGE_DIRECTORY, memory.PAGE),
        (memory.CODE, memory.CODE_LIMIT - memory.CODE),
        # An operand of 64 bytes at offset 63 ends 127 bytes behind the beginning of its area.
        *((memory.OPERAND + vcpu * memory.AREA, 127) for vcpu in range(memory.MAX_VCPUS)),
        *((memory.counter(vcpu), guests.CACHE_LINE) for vcpu in range(memory.MAX_VCPUS)),
        *((memory.stack_top(vcpu) - memory.PAGE, memory.PAGE) for vcpu in range(memory.MAX_VCPUS)),
    ]
    assert all(start + size <= after for (start, size), (after, _) in pairwise(areas))
    assert all(memory.counter(vcpu) % guests.CACHE_LINE == 0 for vcpu in range(memory.MAX_VCPUS))
    assert memory.stack_top(last) <= memory.SIZE <= 2 << 20
