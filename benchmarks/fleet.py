"""How long a fleet takes with 1, 2 and 4 workers: recordings of as many hosts, all in one run.

Clock times mean something only on a machine with that many free CPUs. CPU times are those of all workers,
with their start.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.analysis import recording


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=64)
    parser.add_argument("--records", type=int, default=100_000, help="of each host")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "0.sld"
        recording(first, "trap", options.records, vcpus=4)
        for host in range(1, options.hosts):
            # Without a name of the host each recording is one: with an identity of its own.
            recording(Path(folder) / f"{host}.sld", "trap", options.records, vcpus=4, number=host + 1)
        print(f"{options.hosts} hosts, {os.cpu_count()} CPUs; load {os.getloadavg()[0]:.1f} at the start")
        print(f"{'workers':>8}{'clock':>10}{'CPU':>10}{'hosts':>8}")
        for jobs in (1, 2, 4):
            _print(jobs, folder)


def _print(jobs: int, folder: str) -> None:
    command = ["-m", "sldtrace", "fleet", "--format", "json", "--jobs", str(jobs), folder]
    begun, before = time.monotonic(), os.times()
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, check=True, text=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    hosts = json.loads(done.stdout)["hosts"]
    print(f"{jobs:>8}{time.monotonic() - begun:8.1f} s{cpu:8.1f} s{hosts:>8}", flush=True)


if __name__ == "__main__":
    main()
