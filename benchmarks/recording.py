"""How small, and how fast to write and read, recordings are: as they are and by each codec, side by side.

All ways take turns in each round, and the fastest of the rounds counts: CPU seconds of this process, system
time included, relative to the recording as it is. "zlib, plain" compresses the records without making columns
of them, as sldtrace did before. Sizes are those of the chunks with records, headers included, and of the file
as a whole.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sldtrace.recording import schema
from sldtrace.recording.encoding import Codec, Encoder, best_codec
from sldtrace.recording.format import COMPRESSED, Buffer, ChunkType
from sldtrace.recording.layout import Record, Records
from sldtrace.recording.reader import open_recording
from sldtrace.recording.scan import Source, scan
from sldtrace.recording.writer import Writer

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "tests" / "reporters" / "recordings" / "lab-early-return-loop.sld"
LEAST_BYTES = 8_000_000  # of records, to have something to measure

Part = tuple[str, Records]


class PlainZlib(Encoder):
    """zlib level 1 on the records one after the other."""

    def records(self, record: Record, records: Records, start_ns: int) -> tuple[Buffer, int]:
        """See Encoder."""
        return zlib.compress(records.view(np.uint8).data, 1), COMPRESSED


def ways() -> dict[str, Callable[[], Encoder] | None]:
    """What makes the encoder of each way; None: as it is."""
    found: dict[str, Callable[[], Encoder] | None] = {
        "as it is": None,
        "zlib, plain": lambda: PlainZlib(Codec.ZLIB),
        "zlib": lambda: Encoder(Codec.ZLIB),
    }
    if best_codec() is Codec.ZSTD:
        found["zstd"] = lambda: Encoder(Codec.ZSTD)
    return found


def early_return_loop(count: int) -> Records:
    """Traps of four vCPUs whose sleeps return early, with more noise in every field than a host has."""
    rng = np.random.default_rng(1)
    traps = np.zeros(count, schema.current().records["trap"].dtype)
    traps["start_ns"] = 10**14 + np.cumsum(rng.integers(500_000, 2_000_000, count))
    traps["sleep_ns"] = rng.integers(4_000_000, 7_000_000, count)
    traps["end_ns"] = traps["start_ns"] + traps["sleep_ns"] + rng.integers(1_000, 9_000, count)
    traps["signal_ns"] = traps["end_ns"] - rng.integers(1_000, 90_000, count)
    traps["guest_ns"] = rng.integers(10_000, 90_000, count)
    traps["rip"] = 0xFFFF_FFFF_8100_0C0F
    traps["tgid"] = 4000
    traps["tid"] = rng.integers(4001, 4005, count)
    traps["vcpu"] = traps["tid"] - 4001
    traps["flags"] = 1 | 2 | 4 | 32 | 64 | 128
    traps["start_cpu"] = traps["end_cpu"] = rng.integers(0, 64, count)
    traps["sleep_requested_ms"] = 10
    traps["sleep_left_ms"] = rng.integers(1, 12, count)
    traps["exits"] = rng.integers(1, 20, count)
    traps["signal"] = 14
    traps["signal_code"] = -2
    return traps


def kept(path: Path) -> list[Part]:
    """The chunks of a recording, one after the other, as this version writes them."""
    now = schema.current().records
    with open_recording(path) as recording:
        return [(kind, records.astype(now[kind].dtype)) for kind, records in recording.chunks()]


def simulated(folder: Path, duration: str, *options: str) -> list[Part]:
    """The chunks of what `sldtrace simulate` writes."""
    path = folder / "simulated.sld"
    command = [sys.executable, "-m", "sldtrace", "simulate", "-f", "-o", str(path), "--duration", duration]
    subprocess.run([*command, *options], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    return kept(path)


def write(path: Path, parts: list[Part], repeats: int, encoder: Encoder | None) -> None:
    """Writes each part and flushes, so that there are the same chunks again."""
    with Writer(path, {}, force=True, compress=encoder is not None, encoder=encoder) as writer:
        for _ in range(repeats):
            for kind, records in parts:
                writer.append(kind, records)
                writer.flush()
        writer.close({})


def read(path: Path) -> int:
    """Opens, verifies and reads everything; how many records there were."""
    with open_recording(path) as recording:
        return sum(len(records) for _, records in recording.chunks())


def sizes(path: Path) -> tuple[int, int]:
    """Bytes of the chunks with records, and of the file."""
    with io.FileIO(path) as file:
        found = scan(Source(file))
    return sum(c.end - c.offset for c in found.chunks if c.header.type == ChunkType.RECORDS), found.size


@dataclass
class Measured:
    """CPU seconds of each round, and sizes of the chunks with records and of the file, in bytes."""

    write: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    sizes: tuple[int, int] = 0, 0


def measure(folder: Path, parts: list[Part], rounds: int) -> dict[str, Measured]:
    """Writes and reads the parts in every way, in turns."""
    total = sum(records.nbytes for _, records in parts)
    repeats = max(1, -(-LEAST_BYTES // total))
    found = {name: Measured() for name in ways()}
    for _ in range(rounds):
        for name, make in ways().items():
            path, one = folder / "a.sld", found[name]
            start = time.process_time()
            write(path, parts, repeats, make and make())
            written = time.process_time()
            count = read(path)
            one.write.append(written - start)
            one.read.append(time.process_time() - written)
            assert count == repeats * sum(len(records) for _, records in parts)
    for name, make in ways().items():
        write(folder / "a.sld", parts, 1, make and make())
        found[name].sizes = sizes(folder / "a.sld")
    return found


def show(title: str, parts: list[Part], found: dict[str, Measured]) -> None:
    """Prints a table."""
    total = sum(records.nbytes for _, records in parts)
    count = sum(len(records) for _, records in parts)
    print(f"{title}: {count:,} records, {total:,} bytes in {len(parts)} chunks")
    heads = f"{'records':>12} {'smaller':>8} {'whole file':>12} {'smaller':>8} {'write':>7} {'read':>7}"
    print(f"  {'':12} {heads}")
    base = found["as it is"]
    for name, one in found.items():
        (records, file), (all_records, whole) = one.sizes, base.sizes
        print(
            f"  {name:12} {records:12,} {all_records / records:7.1f}x {file:12,} {whole / file:7.1f}x"
            f" {min(one.write) / min(base.write):6.2f}x {min(one.read) / min(base.read):6.2f}x"
        )


def main() -> None:
    """Prints one table for each recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--duration", default="60s", help="simulated time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        four = ("--vcpus", "4", "--cpus", "4")
        for title, parts in (
            ("lab, kept livelock", kept(KEPT)),
            ("simulate, one vCPU", simulated(folder, options.duration)),
            ("simulate, 4 vCPUs", simulated(folder, options.duration, *four)),
            ("simulate, 4 vCPUs, with VM exits", simulated(folder, options.duration, "--exits", *four)),
            ("random, 4 vCPUs", [("trap", each) for each in np.array_split(early_return_loop(100_000), 43)]),
        ):
            show(title, parts, measure(folder, parts, options.rounds))


if __name__ == "__main__":
    main()
