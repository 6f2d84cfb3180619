"""How fast `sldtrace log` reads a kernel's log, beside `grep -c split_lock` on the same file.

Both take turns in each round, and the fastest of the rounds counts: CPU seconds, system time included. The
log is dmesg of ordinary lines, with one line of split-lock detection among 10,000; --json writes the same as
journalctl -o json. The peak of memory is that of this process, which reads all of it.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

ROOT = Path(__file__).resolve().parent.parent
TEXTS = (
    "usb 1-1: new high-speed USB device number 4 using xhci_hcd",
    "e1000e 0000:00:1f.6 eno1: NIC Link is Up 1000 Mbps Full Duplex, Flow Control: Rx/Tx",
    'audit: type=1400 audit(1700000000.123:45): apparmor="STATUS" operation="profile_load" name="libvirtd"',
    "EXT4-fs (dm-0): mounted filesystem 5b2c1b1e with ordered data mode. Quota mode: none.",
    "br0: port 3(vnet5) entered forwarding state",
    "kvm: SMP vm created on host with unstable TSC; guest TSC will not be reliable",
)  # fmt: skip
TRAP = "x86/split lock detection: #AC: CPU {}/KVM/{} took a split_lock trap at address: 0x7c40"
EVERY = 10_000


def write(path: Path, size: int, journal: bool) -> None:
    """A log of about `size` bytes."""
    with path.open("w") as file:
        for number in range(1 << 62):
            text = TRAP.format(number % 32, 4000 + number % 32) if number % EVERY == 0 else TEXTS[number % 6]
            us = number * 10_000
            if journal:
                text = text.replace('"', '\\"')
                line = (
                    f'{{"__REALTIME_TIMESTAMP":"{1767225600000000 + us}","_BOOT_ID":"{"0f" * 16}",'
                    '"_HOSTNAME":"pve",'
                    f'"_TRANSPORT":"kernel","PRIORITY":"4","_SOURCE_MONOTONIC_TIMESTAMP":"{us}","MESSAGE":"{text}"}}\n'
                )
            else:
                line = f"[{us // 10**6:5}.{us % 10**6:06}] {text}\n"
            size -= file.write(line)
            if size < 0:
                return


def read(path: Path) -> int:
    """Reads it as `sldtrace log` does; the number of traps."""
    from sldtrace.kernlog import sources
    from sldtrace.kernlog.survey import Survey

    survey = Survey()
    for _, stream in sources.file(path):
        survey.read(stream)
    return survey.matched["trap"]


def grep(path: Path) -> int:
    """The same number, by grep."""
    done = subprocess.run(
        ["grep", "-c", "split_lock", path], capture_output=True, text=True, env={"LC_ALL": "C"}
    )
    return int(done.stdout)


def cpu_seconds() -> float:
    """Of this process and its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def fastest(ways: dict[str, Callable[[Path], int]], path: Path, rounds: int) -> dict[str, float]:
    """CPU seconds of each way in its fastest round. Raises AssertionError if they do not agree."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        counts = set()
        for name, way in ways.items():
            start = cpu_seconds()
            counts.add(way(path))
            best[name] = min(best[name], cpu_seconds() - start)
        assert len(counts) == 1, counts
    return best


def main() -> None:
    """Prints MB/s of each way, the ratio, and the peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="journalctl -o json instead of dmesg")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        write(path, options.megabytes * 1_000_000, options.json)
        size = path.stat().st_size
        begun = time.perf_counter()
        best = fastest({"sldtrace log": read, "grep -c": grep}, path, options.rounds)
        for name, seconds in best.items():
            print(f"{name:14}{size / seconds / 1e6:8,.0f} MB/s")
        print(f"ratio         {best['sldtrace log'] / best['grep -c']:8.2f}")
        print(f"peak          {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:8,.0f} MiB")
        print(f"({size / 1e6:,.0f} MB, {options.rounds} rounds, {time.perf_counter() - begun:.0f} s)")


if __name__ == "__main__":
    main()
