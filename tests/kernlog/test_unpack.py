"""What is packed is read in bounded memory; damage is reported, and never silent."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

import pytest
import zstandard

from sldtrace.kernlog import unpack
from sldtrace.kernlog.unpack import Stream

DATA = b"".join(b"[%5d.000000] line\n" % second for second in range(5000))


def pieces(stream: Stream, size: int) -> Iterator[bytes]:
    while piece := stream.read(size):
        yield piece


def read(data: bytes) -> list[tuple[Stream, bytes]]:
    return [(stream, b"".join(pieces(stream, 4096))) for stream in unpack.streams(io.BytesIO(data))]


@pytest.mark.parametrize(
    ("kind", "pack"), [("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress)]
)
def test_a_second_stream_that_is_damaged_is_no_silent_end(kind: str, pack: object) -> None:
    assert callable(pack)
    second = bytearray(pack(DATA))
    second[len(second) // 2] ^= 0xFF
    ((stream, got),) = read(pack(DATA) + bytes(second))
    assert stream.packing == (kind,)
    assert got.startswith(DATA)
    assert stream.damage.startswith(f"the {kind} data is damaged after")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_what_follows_a_stream_is_no_silent_end(pack: object) -> None:
    assert callable(pack)
    ((stream, got),) = read(pack(DATA) + b"[ 1.000000] a line\n")
    assert got == DATA
    assert "data that is not compressed follows" in stream.damage
    ((stream, got),) = read(pack(DATA) + bytes(512))  # padding, as of a tape
    assert (got, stream.damage) == (DATA, "")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_what_follows_an_empty_stream_is_read_too(pack: object) -> None:
    assert callable(pack)
    for rest, got, damaged in (
        (bytes(200_000), b"", False),
        (bytes(9) + pack(DATA), DATA, False),
        (b"x", b"", True),
    ):
        ((stream, found),) = read(pack(b"") + rest)
        assert (found, bool(stream.damage)) == (got, damaged)


def test_damage_around_a_stream_that_is_whole_is_no_silent_end() -> None:
    ((stream, got),) = read(gzip.compress(gzip.compress(DATA))[:-8])
    assert (got, stream.packing) == (DATA, ("gzip", "gzip"))
    assert "the compressed data ends too early" in stream.damage


def test_a_huge_dictionary_is_refused_with_its_reason() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]
    # The compressor would take the memory itself: the size is one byte of the filter's properties.
    packed = bytearray(lzma.compress(DATA, filters=[{**filters[0], "dict_size": 1 << 20}]))
    at = packed.index(b"\x21\x01", 12)
    packed[at + 2] = 36  # 1 GiB
    header_end = 12 + (packed[12] + 1) * 4
    packed[header_end - 4 : header_end] = zlib.crc32(packed[12 : header_end - 4]).to_bytes(4, "little")
    ((stream, got),) = read(bytes(packed))
    assert got == b""
    assert "Memory usage limit" in stream.damage


@pytest.mark.parametrize(("window", "size"), [(17 << 3, 6), (17 << 3 | 1, 0)])
def test_of_zstd_a_window_of_128_mib_is_the_largest(window: int, size: int) -> None:
    """The header of a frame (RFC 8878): the next one is 144 MiB. Then a block as it is, the last."""
    frame = b"\x28\xb5\x2f\xfd\0" + bytes([window]) + (6 << 3 | 1).to_bytes(3, "little") + b"hello\n"
    ((stream, got),) = read(frame)
    assert (len(got), bool(stream.damage)) == (size, not size)


def test_bombs_are_read_piece_by_piece() -> None:
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        (stream,) = unpack.streams(io.BytesIO(pack(bytes(4 << 20) + b"x")))
        assert max(map(len, pieces(stream, 1 << 16))) <= 1 << 16


def archive(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as file:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return out.getvalue()


def test_members_of_archives_are_logs_of_their_own() -> None:
    found = read(
        archive(("a/kern.log", DATA), ("a/old.gz", gzip.compress(b"x\n")), ("a/j", b"LPKSHHRH" + bytes(99)))
    )
    assert [(stream.name, stream.packing) for stream, _ in found] == [
        ("a/kern.log", ("gzip", "tar")), ("a/old.gz", ("gzip", "tar", "gzip")), ("a/j", ("tar",))
    ]  # fmt: skip
    assert [got for _, got in found] == [DATA, b"x\n", b""]
    assert [stream.damage for stream, _ in found] == ["", "", "is a binary journal"]


def test_a_damaged_archive() -> None:
    found = read(archive(("a", DATA), ("b", DATA))[:-400])
    assert any(stream.damage for stream, _ in found)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("kern.log", DATA)
    ((stream, got),) = read(out.getvalue()[:-30])
    assert (got, "zip archive is damaged" in stream.damage) == (b"", True)


def test_an_encrypted_member_of_an_archive_does_not_hide_the_others() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in ("secret", "folder/", "kern.log"):
            file.writestr(name, b"" if name.endswith("/") else DATA)
    data = bytearray(out.getvalue())
    for header, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(header) + at] |= 1  # of the first member
    found = read(bytes(data))
    assert [(stream.name, got) for stream, got in found] == [("secret", b""), ("kern.log", DATA)]
    assert "the member cannot be read" in found[0][0].damage
    assert found[1][0].damage == ""


def test_archives_in_archives_end() -> None:
    data = DATA
    for _ in range(9):
        data = gzip.compress(data)
    ((stream, got),) = read(data)
    assert len(stream.packing) == 5
    assert got[:2] == b"\x1f\x8b"


@pytest.mark.parametrize(
    ("mark", "encoding", "packing"),
    [
        (b"", "utf-8", ()),
        (b"\xef\xbb\xbf", "utf-8", ()),
        (b"\xff\xfe", "utf-16-le", ("UTF-16",)),
        (b"\xfe\xff", "utf-16-be", ("UTF-16",)),
        (b"", "utf-16-le", ("UTF-16",)),
        (b"", "utf-16-be", ("UTF-16",)),
    ],
)
def test_what_text_is_not_in_utf_8_is_said(mark: bytes, encoding: str, packing: tuple[str, ...]) -> None:
    ((stream, got),) = read(mark + DATA.decode().encode(encoding))
    assert (got, stream.packing) == (DATA, packing)


def test_zstd_is_read_in_pieces() -> None:
    packed = zstandard.compress(DATA)
    assert len(packed) > 4 * unpack._ZSTD_PIECE
    ((stream, got),) = read(packed + packed)
    assert (got, stream.packing, stream.damage) == (DATA + DATA, ("zstd",), "")
    ((stream, got),) = read(packed[:-1])
    assert DATA.startswith(got)
    assert "ends too early" in stream.damage
