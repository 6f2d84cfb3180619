"""Recordings with known content: what the tests damage, cut and read back."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import sldtrace
from sldtrace.recording import schema
from sldtrace.recording.encoding import Codec, Encoder, best_codec
from sldtrace.recording.writer import Writer

FACTS: dict[str, Any] = {
    "kernel": {"release": "6.12.48+deb13-amd64", "tick_ns": 4_000_000},
    "clock": {"monotonic_ns": 1_000_000_000, "realtime_ns": 1_790_000_001_000_000_000},
}
CLOSING: dict[str, Any] = {
    "reason": "SIGINT",
    "clock": {"monotonic_ns": 9_000_000_000, "realtime_ns": 1_790_000_009_000_000_000},
}


def python(code: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a piece of Python that can import this sldtrace, wherever the tests are run from."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(sldtrace.__file__).parents[1])},
        capture_output=True,
        text=True,
    )


def noise(kind: str, count: int, seed: int = 0) -> np.ndarray:
    """Records of random bytes: every field takes any value, nothing compresses."""
    record = schema.current().records[kind]
    return np.frombuffer(np.random.default_rng(seed).bytes(count * record.size), record.dtype)


def plain(kind: str, count: int, start_ns: int) -> np.ndarray:
    """Records of zeros but for their times, 1 ms apart: they compress."""
    record = schema.current().records[kind]
    records = np.zeros(count, record.dtype)
    records[record.time_field] = start_ns + 1_000_000 * np.arange(count)
    return records


def varied(kind: str, count: int, start_ns: int) -> np.ndarray:
    """Records of small random words: they compress, and the same bytes are in no two of them."""
    records = plain(kind, count, start_ns)
    words = records.view("<u8").reshape(count, records.dtype.itemsize // 8)
    words += np.random.default_rng(start_ns).integers(0, 5_000, words.shape, np.uint64)
    return records


def in_order(records: np.ndarray) -> bytes:
    """The bytes of the records in order of time, as a reader has to give them."""
    names = records.dtype.names or ()
    return records[np.argsort(records[names[0]], kind="stable")].tobytes()


@dataclass(frozen=True)
class Extent:
    """One chunk: the bytes it takes, and its records if it has any."""

    start: int
    end: int
    kind: str | None = None
    records: np.ndarray | None = None


@dataclass(frozen=True)
class Sample:
    """A recording as bytes, with the place of each chunk from the size of the writer at that time."""

    data: bytes
    extents: tuple[Extent, ...]

    def surviving(self, kind: str, untouched: list[Extent]) -> bytes:
        """The records of that kind in these chunks, in order of time."""
        dtype = schema.current().records[kind].dtype
        parts = [each.records for each in untouched if each.kind == kind and each.records is not None]
        return in_order(np.concatenate([np.empty(0, dtype), *parts]))


def make(path: Path, recording_id: int = 0x51D_7ACE) -> Sample:
    """A small recording with chunks of every type, as they are and compressed by every codec of this host."""
    extents = []
    writer = Writer(path, FACTS, recording_id=recording_id)
    extents.append(Extent(16, writer.size))

    def add(kind: str, records: np.ndarray, codec: Codec | None) -> None:
        before = writer.size
        writer.compress = codec is not None
        writer.encoder = Encoder(codec)
        writer.append(kind, records)
        writer.flush()
        extents.append(Extent(before, writer.size, kind, records))

    add("trap", noise("trap", 3, 1), None)
    add("trap", varied("trap", 30, 5_000), Codec.ZLIB)
    add("task", plain("task", 2, 6_000), None)
    before = writer.size
    writer.compress = True
    writer.facts_update({"detail": "lowered"})
    extents.append(Extent(before, writer.size))
    add("detection", noise("detection", 2, 3), None)
    add("trap", plain("trap", 1, 4_000), None)
    add("lost", plain("lost", 1, 7_000), Codec.ZLIB)
    add("lost", varied("lost", 60, 8_000), best_codec())
    before = writer.size
    writer.compress = True
    writer.close(CLOSING)
    extents.append(Extent(before, writer.size))
    return Sample(path.read_bytes(), tuple(extents))
