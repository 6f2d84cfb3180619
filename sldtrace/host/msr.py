"""MSR_TEST_CTRL of each core, read through /dev/cpu/N/msr; nothing is ever written."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from sldtrace.host import kernel

TEST_CTRL = 0x33
"""Address of MSR_TEST_CTRL (Intel SDM volume 4). One register for both hyperthreads of a core."""
DETECT = 1 << 29
"""The bit of MSR_TEST_CTRL that makes a split lock raise #AC: split-lock detection is on."""

# For each split lock that is let go detection is off for two jiffies, at most 20 ms.
_LOOKS = 4
_PAUSE = 0.03


@dataclass(frozen=True)
class Core:
    """One core: its online CPUs, and what its MSR says.

    detects: None where it could not be read. moments_off: it was off in some of several looks, as
    during a penalty.
    """

    cpus: tuple[int, ...]
    detects: bool | None
    moments_off: bool = False
    why_not: str = ""


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
    for look in range(_LOOKS):
        if look:
            time.sleep(pause)
        try:
            seen.append(_detects(dev / str(cpus[0]) / "msr"))
        except OSError as error:
            return Core(cpus, None, why_not=error.strerror or str(error))
        if seen[0]:
            break
    return Core(cpus, any(seen), moments_off=not seen[0] and any(seen))


def _detects(path: Path) -> bool:
    handle = os.open(path, os.O_RDONLY)
    try:
        data = os.pread(handle, 8, TEST_CTRL)
    finally:
        os.close(handle)
    if len(data) != 8:
        raise OSError(0, "short read")
    return bool(int.from_bytes(data, "little") & DETECT)
