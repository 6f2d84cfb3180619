"""How time and memory of a report grow with the number of threads and addresses, of as many traps.

Each line is a process of its own. Linear is a ratio of 2 at most from line to line, as the traps double too:
each thread has a loop of early returns, or each address of few threads has one. The output is bounded.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.analysis import measured_here
from sldtrace.recording import schema
from sldtrace.recording.layout import Records
from sldtrace.recording.writer import Writer

_FACTS = {"kernel": {"release": "6.12.0"}, "clock": {"monotonic_ns": 0, "realtime_ns": 1_764_000_000 * 10**9}}
_MS = 1_000_000
_TRAPS = 8  # of each thread, or address


def recording(path: Path, threads: int, addresses: int, semaphore: bool) -> None:
    """Writes loops of that many threads at that many addresses: each has _TRAPS early returns in a row.

    Ten threads are a VM. semaphore: signals end the wait for the semaphore, not the sleep.
    """
    flags = schema.current().enums["trap_flags"].values
    number = max(threads, addresses)
    loop = np.repeat(np.arange(number), _TRAPS)
    turn = np.tile(np.arange(_TRAPS), number)
    rows: Records = np.zeros(number * _TRAPS, schema.current().records["trap"].dtype)
    # Loops of one thread follow each other.
    start = 1_000 * _MS + (loop // threads * (_TRAPS + 8) + turn) * 4 * _MS + loop % threads * 100
    rows["start_ns"], rows["end_ns"] = start, start + 3 * _MS
    rows["tgid"], rows["tid"] = 100_000 + loop % threads // 10 * 10, 100_000 + loop % threads
    rows["rip"] = 0x400000 + 16 * (loop % addresses)
    names = ["GUEST", "WARNED", "SLEPT", "HANDLED", "EXITS_WATCHED", *(["SEMAPHORE"] if semaphore else [])]
    rows["flags"] = sum(flags[name] for name in names)
    rows["sleep_requested_ms"], rows["sleep_ns"] = 10, 2 * _MS
    if semaphore:
        rows["semaphore_ns"], rows["semaphore_result"] = _MS, -4
    else:
        rows["sleep_left_ms"] = 8
    rows["signal"], rows["signal_ns"], rows["vcpu"] = 14, start + 2 * _MS, loop % threads % 10
    rows = rows[np.argsort(start, kind="stable")]
    with Writer(path, _FACTS, recording_id=1, compress=False) as writer:
        for at in range(0, len(rows), 10_000):
            writer.append("trap", rows[at : at + 10_000])
            writer.flush()
        writer.close({})


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2_500)
    parser.add_argument("--addresses", type=int, default=25_000)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured_here("sldtrace, complete, text and JSON", Path(options.child))))
        return
    print(f"{'':54}{'CPU':>9}{'peak':>12}")
    for what, threads, addresses, semaphore in (
        ("threads, each with a loop", options.threads, 1, False),
        ("threads, each with a loop at the semaphore", options.threads, 1, True),
        ("addresses of 10 threads, each with a loop", 10, options.addresses, False),
    ):
        for times in (1, 2, 4):
            of_threads, of_addresses = (
                count * times if count > 10 else count for count in (threads, addresses)
            )
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "a.sld"
                recording(path, of_threads, of_addresses, semaphore)
                found = _child(path)
            most = max(of_threads, of_addresses)
            print(f"{most:>9,} {what:44}{found['cpu_s']:7.2f} s{found['mib']:8,.0f} MiB", flush=True)


def _child(path: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(path)], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
