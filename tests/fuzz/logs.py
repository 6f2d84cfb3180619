"""Makes logs that a hostile host could have: every format and packing, then damage in each layer."""

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable

import zstandard

from tests.kernlog.formats import OTHER, SINCE_BOOT, WITH_HOST, WITH_WALL_TIME, Message

FORMATS = {**SINCE_BOOT, **WITH_HOST, **WITH_WALL_TIME}

_NAMES = (
    "CPU 0/KVM",
    "qemu-system-x86",
    "a: b/1 took",
    "x" * 300,
    "",
    "\x1b[31m",
    "\u202e",
    '"}{[',
    "[1] (2)",
)
_WORDS = (
    *("x86/split lock detection: ", "#AC: ", "#DB: ", "took a split_lock trap at address: ", "0x", "[", "]"),
    *(
        "split_lock_warn: 9 callbacks suppressed",
        "message repeated 999999999 times: [",
        "<4>",
        "{",
        '"',
        "\\u",
    ),
    *(
        "Call Trace:",
        "Oops: split lock",
        "Linux version 6.1",
        "kernel: ",
        "CPU: 0 PID: 1 Comm: a",
        "\0",
        "\r",
    ),
)
_NUMBERS = (0, 1, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, 1 << 64, 10**40)


def _text(rng: random.Random) -> str:
    match rng.randrange(6):
        case 0:
            return OTHER
        case 1:
            return "".join(rng.choice(_WORDS) for _ in range(rng.randrange(12)))
        case 2:
            return f"split_lock_warn: {rng.choice(_NUMBERS)} callbacks suppressed"
        case 3:
            return (
                f"x86/split lock detection: {rng.choice(['warning about', '#AC: crashing the kernel on'])} x"
            )
        case _:
            kind, what = rng.choice([("AC", "split"), ("DB", "bus")])
            who = f"{rng.choice(_NAMES)}/{rng.choice(_NUMBERS)}"
            where = f"{rng.choice(_NUMBERS):#x}"
            return f"x86/split lock detection: #{kind}: {who} took a {what}_lock trap at address: {where}"


def _messages(rng: random.Random) -> list[Message]:
    times = sorted(rng.choice([*range(20), 10**11, 10**14]) for _ in range(rng.choice([1, 3, 30])))
    return [Message(us, _text(rng)) for us in times]


def _repeat(rng: random.Random, text: bytes) -> bytes:
    """A line of one pattern, up to a megabyte: what a regular expression may be slow for."""
    pattern = rng.choice([*_WORDS, " ", ":", "a/1 ", "=", ","]).encode()
    return (
        text
        + pattern * (rng.choice([100, 10_000, 1_000_000]) // len(pattern))
        + rng.choice([b"\n", b""])
        + text
    )


def _nest(rng: random.Random, text: bytes) -> bytes:
    depth = rng.choice([10, 900, 5000, 100_000])
    inner = json.dumps(text.decode("utf-8", "replace")[:500]).encode()
    opened, closed = rng.choice(
        [(b"[", b"]"), (b'{"log":', b"}"), (b'{"MESSAGE":', b"}"), (b'{"a":[', b"]}")]
    )
    return opened * depth + inner + rng.choice([closed * depth, b""]) + b"\n" + text


def _change_json(rng: random.Random, text: bytes) -> bytes:
    """Values of the JSON lines become others."""
    lines = text.split(b"\n")
    for number, line in enumerate(lines):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and value:
            key = rng.choice(list(value))
            value[key] = rng.choice(
                [None, True, -1, 1e308, *_NUMBERS, "", [], {}, [0] * 50, [1e9, -1], {"log": 1}]
            )
            lines[number] = json.dumps(value).encode()
    return b"\n".join(lines)


def _flip(rng: random.Random, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(rng.choice([1, 1, 5]) if made else 0):
        made[rng.randrange(len(made))] = rng.choice([0, 0x80, 0xFF, rng.randrange(256)])
    return bytes(made)


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _zip(rng: random.Random, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for number in range(rng.choice([1, 1, 3])):
            archive.writestr(
                zipfile.ZipInfo(f"{number}" + rng.choice(["kern.log", "/../x", "a/" * 50])), data
            )
    return file.getvalue()


def _tar(rng: random.Random, data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(
        fileobj=file, mode="w", format=rng.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    ) as archive:
        for number in range(rng.choice([1, 1, 3])):
            member = tarfile.TarInfo(rng.choice(["kern.log", "../x", "n" * 300, f"{number}"]))
            member.size = len(data)
            member.type = rng.choice(
                [tarfile.REGTYPE] * 5 + [tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE]
            )
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


PACKINGS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    lambda rng, data: gzip.compress(data, 1, mtime=0),
    lambda rng, data: bz2.compress(data),
    lambda rng, data: lzma.compress(data, rng.choice([lzma.FORMAT_XZ, lzma.FORMAT_ALONE]), preset=0),
    lambda rng, data: zstandard.ZstdCompressor(write_content_size=rng.random() < 0.5).compress(data),
    *(_zip, _tar),
)
CHANGES = (_repeat, _nest, _change_json, _change_json, _flip, _cut)


def damaged(rng: random.Random) -> bytes:
    """A log with damage in its text, its packing or both; the same for the same state of `rng`."""
    data = rng.choice(list(FORMATS.values()))(_messages(rng)).encode("utf-8", "surrogatepass")
    for _ in range(rng.choice([0, 1, 2])):
        data = rng.choice(CHANGES)(rng, data)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
        data = rng.choice(PACKINGS)(rng, data)
        if rng.random() < 0.2:
            data = rng.choice([_flip, _cut])(rng, data)
        if rng.random() < 0.1:
            data += rng.choice([data, b"\0" * 600, b"x", rng.randbytes(30)])
    return data
