"""The page of the format: its tables are those of bpf/events.h, its constants those of the code."""

import struct
import zlib

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.recording import format, pending, schema, writer
from tools import format_page

PAGE = format_page.PAGE.read_text()


def test_page_is_up_to_date() -> None:
    assert format_page.updated(PAGE, schema.current()) == PAGE, "run python -m tools.format_page"


def test_tables_follow_the_schema() -> None:
    text = format_page.tables(schema.current()).replace("trap", "other")
    stale = PAGE.replace(format_page.tables(schema.current()), text)
    assert stale != PAGE
    assert format_page.updated(stale, schema.current()) == PAGE


def test_lost_markers_are_one_line() -> None:
    with pytest.raises(SldtraceError, match="has lost its markers"):
        format_page.updated(PAGE.replace(format_page.END, ""), schema.current())


def test_headers_are_as_specified() -> None:
    head = format.pack_file_header()
    assert head == bytes.fromhex("93534c445452430a") + struct.pack("<II", 1, zlib.crc32(head[:12]))
    header = format.ChunkHeader(
        recording=0x0102030405060708,
        sequence=3,
        type=2,
        kind=4,
        schema=5,
        flags=1,
        count=6,
        size=7,
        stored=8,
        first_ns=9,
        last_ns=10,
        crc=11,
    )
    packed = header.pack()
    assert packed[:8] == bytes.fromhex("f5534c4463686b01")
    assert struct.unpack("<QQQIIIIHHHHI", packed[8:60]) == (
        0x0102030405060708,
        9,
        10,
        3,
        6,
        7,
        8,
        2,
        4,
        5,
        1,
        11,
    )
    assert packed[60:] == struct.pack("<I", zlib.crc32(packed[:60]))
    assert format.unpack_chunk_header(packed) == header


def test_sizes_are_as_specified() -> None:
    assert format.FILE_HEADER_SIZE == 16
    assert format.CHUNK_HEADER_SIZE == 64
    assert f"at most {format.MAX_PAYLOAD >> 20} MiB" in PAGE
    assert f"when it has {pending.CHUNK_BYTES >> 10} KiB of a kind" in PAGE
    assert f"after every {writer.REPEAT_BYTES >> 20} MiB of file" in PAGE
