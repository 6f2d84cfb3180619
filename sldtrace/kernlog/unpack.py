"""Unpacks a log of any size in bounded memory: gzip, bzip2, xz, zstd, tar, zip, UTF-16.

Damage does not raise: what was read before it counts, and the stream says what is missing.
"""

import bz2
import codecs
import lzma
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from sldtrace.text.escape import escape

_PIECE = 64 << 10  # bytes that are decompressed at once
_ZSTD_PIECE = 512  # zstandard has no limit of the output; one piece becomes 16 MiB at most
_XZ_MEMORY = 256 << 20  # xz -9 takes 65 MiB; a dictionary may have 1.5 GiB
_DEPTH = 5  # archives in archives
_PEEK = 4096

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_FOREIGN = {
    b"LPKSHHRH": ("is a binary journal", "journalctl --file FILE -k -o json | sldtrace log -"),
    b"\x04\x22\x4d\x18": ("is compressed by lz4", "lz4cat FILE | sldtrace log -"),
    b"\x1f\x9d": ("is compressed by compress", "zcat FILE | sldtrace log -"),
    b"]\0\0": ("is compressed by lzma", "xzcat FILE | sldtrace log -"),
    b"7z\xbc\xaf\x27\x1c": ("is a 7-Zip archive", "7z x -so FILE | sldtrace log -"),
    b"Rar!\x1a\x07": ("is a RAR archive", "unrar p -inul FILE | sldtrace log -"),
}
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class Readable(Protocol):
    """Bytes that can be read."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; none at the end."""


class Unsupported(Exception):
    """A format that sldtrace does not read: the message says which; hint: a command that converts it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Stream:
    """The bytes of one log.

    name: of the member of an archive, empty outside of one; packing: what was undone, outermost first;
    damage: why the rest could not be read, known at the end.
    """

    def __init__(self, source: Readable, name: str = "", packing: tuple[str, ...] = ()) -> None:
        self._source = source
        self._begin = b""
        self.name = name
        self.packing = packing
        self.damage = ""

    def peek(self, size: int) -> bytes:
        """The next bytes, at most `size`, without taking them."""
        while len(self._begin) < size and (more := self._source.read(size - len(self._begin))):
            self._begin += more
        return self._begin[:size]

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; none at the end, and after damage."""
        if self._begin:
            taken, self._begin = self._begin[:size], self._begin[size:]
            return taken
        if self.damage:
            return b""
        data = self._source.read(size)
        self.damage = getattr(self._source, "damage", "")
        return data


def streams(raw: Readable) -> Iterator[Stream]:
    """The logs in a file: one, or each member of an archive, to be read before the next is asked for.

    A member that cannot be read is an empty stream with damage. Raises Unsupported if the file itself is of
    another format, and what raw.read raises.
    """
    yield from _inside(Stream(raw), 0)


def _inside(stream: Stream, depth: int) -> Iterator[Stream]:
    begin = stream.peek(_PEEK)
    for magic, (what, hint) in _FOREIGN.items():
        if begin.startswith(magic):
            raise Unsupported(what, hint)
    if depth < _DEPTH:
        for magic, kind in _COMPRESSED.items():
            if begin.startswith(magic):
                unpacked = _Unpacked(stream, kind)
                yield from _inside(Stream(unpacked, stream.name, (*stream.packing, kind)), depth + 1)
                return
        if begin[257:262] == b"ustar":
            yield from _members(stream, "tar", _tar(stream), depth)
            return
        if begin.startswith(b"PK\x03\x04"):
            yield from _members(stream, "zip", _zip(stream), depth)
            return
    if encoding := _encoding(begin):
        name = encoding.upper().removesuffix("-SIG").removesuffix("-LE").removesuffix("-BE")
        packing = (*stream.packing, name) if name != "UTF-8" else stream.packing
        yield Stream(_Decoded(stream, encoding), stream.name, packing)
        return
    yield stream


def _members(outer: Stream, kind: str, found: Iterator[tuple[str, Readable]], depth: int) -> Iterator[Stream]:
    try:
        for name, source in found:
            whole = f"{outer.name}/{name}" if outer.name else name
            try:
                yield from _inside(Stream(source, whole, (*outer.packing, kind)), depth + 1)
            except Unsupported as error:
                yield _broken(whole, kind, str(error))
    except (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError,
            zlib.error, lzma.LZMAError) as error:  # fmt: skip
        yield _broken(outer.name, kind, f"the {kind} archive is damaged: {_reason(error)}")
        return
    if outer.damage:
        yield _broken(outer.name, kind, outer.damage)


def _broken(name: str, kind: str, damage: str) -> Stream:
    stream = Stream(_Nothing(), name, (kind,))
    stream.damage = damage
    return stream


class _Nothing:
    def read(self, size: int, /) -> bytes:
        return b""


class _Guarded:
    # A member of an archive, whose read errors are damage.
    def __init__(self, source: Any) -> None:
        self._source = source
        self.damage = ""

    def read(self, size: int, /) -> bytes:
        try:
            data: bytes = self._source.read(size)
        except (OSError, EOFError, RuntimeError, tarfile.TarError, zipfile.BadZipFile, zlib.error,
                lzma.LZMAError) as error:  # fmt: skip
            self.damage = f"the member is damaged: {_reason(error)}"
            return b""
        return data


def _tar(stream: Stream) -> Iterator[tuple[str, Readable]]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
        for member in archive:
            if member.isreg() and (file := archive.extractfile(member)):
                yield escape(member.name), _Guarded(file)


# A zip archive has its list of members at its end, so it is copied where it can be searched.
def _zip(stream: Stream) -> Iterator[tuple[str, Readable]]:
    with tempfile.TemporaryFile() as copy:
        while data := stream.read(1 << 20):
            copy.write(data)
        with zipfile.ZipFile(copy) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    try:
                        file = archive.open(member)
                    except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:  # encrypted
                        guarded = _Guarded(_Nothing())
                        guarded.damage = f"the member cannot be read: {_reason(error)}"
                        yield escape(member.filename), guarded
                        continue
                    with file:
                        yield escape(member.filename), _Guarded(file)


def _reason(error: BaseException) -> str:
    return escape(str(error) or type(error).__name__)


def _encoding(begin: bytes) -> str:
    for mark, name in _BOMS.items():
        if begin.startswith(mark):
            return name
    pairs = len(begin) // 2
    if pairs >= 8 and begin[1::2].count(0) >= pairs * 0.9 and begin[::2].count(0) < pairs * 0.1:
        return "utf-16-le"
    if pairs >= 8 and begin[::2].count(0) >= pairs * 0.9 and begin[1::2].count(0) < pairs * 0.1:
        return "utf-16-be"
    return ""


class _Decoded:
    # UTF-8 or UTF-16 with or without its mark, as UTF-8 without one.
    def __init__(self, source: Stream, encoding: str) -> None:
        self._source = source
        self._first = True
        self._utf8 = encoding == "utf-8-sig"
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self.damage = ""

    def read(self, size: int, /) -> bytes:
        while True:
            data = self._source.read(size)
            self.damage = self._source.damage
            if self._first and data:
                self._first = False
                if self._utf8:
                    data = data.removeprefix(codecs.BOM_UTF8)
            if self._utf8:
                return data
            text = self._decoder.decode(data, not data)
            if text or not data:
                return text.removeprefix("\ufeff").encode("utf-8", "backslashreplace")


class _Unpacked:
    # One or more compressed streams, one after another. The decompressors have the interface of bz2's.
    def __init__(self, source: Stream, kind: str) -> None:
        self._source = source
        self._kind = kind
        self._make: Callable[[], Any] = {
            "gzip": _Gzip,
            "bzip2": bz2.BZ2Decompressor,
            "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
            "zstd": _zstd(),
        }[kind]
        self._piece = _ZSTD_PIECE if kind == "zstd" else _PIECE
        self._one: Any = None
        self._input = b""
        self._made = 0
        self.damage = ""

    def read(self, size: int, /) -> bytes:
        while not self.damage:
            if self._one is None and not self._begin():
                return b""
            if self._one.needs_input and not self._input:
                self._input = self._source.read(self._piece)
                if not self._input:
                    self._damaged(self._source.damage or "the compressed data ends too early")
                    return b""
            given, self._input = self._input, b""
            try:
                data: bytes = self._one.decompress(given, size)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                self._damaged(_reason(error))
                return b""
            except Exception as error:  # zstandard's own, which may not be installed
                self._damaged(_reason(error))
                return b""
            if self._one.eof:
                self._input, self._one = self._one.unused_data, None
            if data:
                self._made += len(data)
                return data
        return b""

    # Another stream, after zeros that pad the one before; False at the end.
    def _begin(self) -> bool:
        while not self._input.strip(b"\0"):
            self._input = self._source.read(self._piece)
            if not self._input:
                if self._source.damage:
                    self._damaged(self._source.damage)
                return False
        self._input = self._input.lstrip(b"\0")
        magic = next(magic for magic, kind in _COMPRESSED.items() if kind == self._kind)
        while len(self._input) < len(magic) and (more := self._source.read(self._piece)):
            self._input += more
        if not self._input.startswith(magic):
            self._damaged("data that is not compressed follows the compressed data")
            return False
        self._one = self._make()
        return True

    def _damaged(self, reason: str) -> None:
        self.damage = f"the {self._kind} data is damaged after {self._made:,} unpacked bytes: {reason}"


class _Gzip:
    def __init__(self) -> None:
        self._one = zlib.decompressobj(31)
        self._rest = b""

    @property
    def needs_input(self) -> bool:
        return not self._rest and not self._one.eof

    @property
    def eof(self) -> bool:
        return self._one.eof

    @property
    def unused_data(self) -> bytes:
        return self._one.unused_data

    def decompress(self, data: bytes, size: int) -> bytes:
        made = self._one.decompress(self._rest + data, size)
        self._rest = self._one.unconsumed_tail
        return made


class _Zstd:
    def __init__(self, one: Any) -> None:
        self._one = one
        self._ready = b""
        self._ended = False

    @property
    def needs_input(self) -> bool:
        return not self._ready and not self._ended

    @property
    def eof(self) -> bool:
        return self._ended and not self._ready

    @property
    def unused_data(self) -> bytes:
        rest: bytes = self._one.unused_data
        return rest

    def decompress(self, data: bytes, size: int) -> bytes:
        if data:
            self._ready += self._one.decompress(data)
            self._ended = self._one.eof
        made, self._ready = self._ready[:size], self._ready[size:]
        return made


def _zstd() -> Callable[[], Any]:
    def make() -> _Zstd:
        try:
            import zstandard
        except ImportError:
            raise Unsupported("is compressed by zstd", "zstdcat FILE | sldtrace log -") from None
        return _Zstd(zstandard.ZstdDecompressor(max_window_size=128 << 20).decompressobj())

    return make
