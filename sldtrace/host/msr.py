"""Reads MSR_TEST_CTRL of each core through /dev/cpu/N/msr; never writes it."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from sldtrace.host import kernel

TEST_CTRL = 0x33
"""Address of MSR_TEST_CTRL (Intel SDM volume 4). One register for both hyperthreads of a core."""
DETECT = 1 << 29
"""The bit of MSR_TEST_CTRL that makes a split lock raise #AC: split-lock detection is on."""

READS = 4
"""Most reads of one register, until detection is on: a penalty switches it off for two jiffies (<= 20 ms)."""
_PAUSE = 0.03  # seconds between two reads


@dataclass(frozen=True)
class Core:
    """One core: its online CPUs, and the state of detection in its MSR.

    detects: None if the MSR could not be read, for the reason `error`. sometimes_off: detection was off in
    some of the reads, as after a penalty.
    """

    cpus: tuple[int, ...]
    detects: bool | None
    sometimes_off: bool = False
    error: str = ""


def read(
    dev: Path = Path("/dev/cpu"),
    cpus: Path = Path("/sys/devices/system/cpu"),
    pause: float = _PAUSE,
) -> list[Core]:
    """All cores with an online CPU; reading needs root, CAP_SYS_RAWIO and the module msr."""
    members: dict[int, list[int]] = {}
    for cpu, first in kernel.cores(cpus).items():
        members.setdefault(first, []).append(cpu)
    return [_core(tuple(those), dev, pause) for those in members.values()]


def _core(cpus: tuple[int, ...], dev: Path, pause: float) -> Core:
    seen = []
    for attempt in range(READS):
        if attempt:
            time.sleep(pause)
        try:
            seen.append(_detects(dev / str(cpus[0]) / "msr"))
        except OSError as error:
            return Core(cpus, None, error=error.strerror or str(error))
        if seen[0]:
            break
    return Core(cpus, any(seen), sometimes_off=not seen[0] and any(seen))


def _detects(path: Path) -> bool:
    handle = os.open(path, os.O_RDONLY)
    try:
        data = os.pread(handle, 8, TEST_CTRL)
    finally:
        os.close(handle)
    if len(data) != 8:
        raise OSError(0, "short read")
    return bool(int.from_bytes(data, "little") & DETECT)
