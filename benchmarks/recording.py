"""How fast recordings are written and read, as ratios to numpy.fromfile of the same bytes in the same run."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from sldtrace.recording import schema
from sldtrace.recording.reader import open_recording
from sldtrace.recording.writer import Writer


def early_return_loop(count: int) -> np.ndarray:
    """Traps of four vCPUs whose sleeps return early: jittered times, everything else nearly constant."""
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


def cost(action: Callable[[], object], runs: int) -> float:
    """Median CPU seconds of this process, system time included."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return statistics.median(times)


def write(path: Path, traps: np.ndarray, compress: bool) -> None:
    """Writes as the recorder does: a thousand records at a time, a flush after every ten thousand."""
    with Writer(path, {}, force=True, compress=compress) as writer:
        for start in range(0, len(traps), 1000):
            writer.append("trap", traps[start : start + 1000])
            if start % 10_000 == 0:
                writer.flush()
        writer.close({})


def read(path: Path) -> None:
    """Opens, verifies and reads everything."""
    with open_recording(path) as recording:
        recording.records("trap")


def main() -> None:
    """Prints one line per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    traps = early_return_loop(options.records)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        traps.tofile(raw)
        floor_read = cost(lambda: np.fromfile(raw, traps.dtype), options.runs)
        floor_write = cost(lambda: traps.tofile(raw), options.runs)
        print(
            f"{options.records} trap records, {traps.nbytes} bytes; CPU time, median of {options.runs} runs"
        )
        print(f"numpy.tofile {1e9 * floor_write / len(traps):.0f} ns a record, ", end="")
        print(f"numpy.fromfile {1e9 * floor_read / len(traps):.0f} ns a record")
        for compress in (False, True):
            path = Path(folder) / "a.sld"
            writing = cost(partial(write, path, traps, compress), options.runs)
            reading = cost(partial(read, path), options.runs)
            ratio = traps.nbytes / path.stat().st_size
            print(
                f"{'compressed' if compress else 'as it is'}: {ratio:.2f} times smaller,"
                f" write {1e9 * writing / len(traps):.0f} ns a record ({writing / floor_write:.1f} x tofile),"
                f" read {1e9 * reading / len(traps):.0f} ns a record ({reading / floor_read:.1f} x fromfile)"
            )


if __name__ == "__main__":
    main()
