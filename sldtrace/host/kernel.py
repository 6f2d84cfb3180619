"""The running kernel: its release, its clock tick, its CPUs and its tracepoints."""

import os
import re
import time
from pathlib import Path

_CLOCK_MONOTONIC_COARSE = 6  # include/uapi/linux/time.h; not named by the time module


def release() -> str:
    """`uname -r`, for example `6.12.107+deb13-cloud-amd64`."""
    return os.uname().release


def version(text: str) -> tuple[int, int]:
    """Major and minor number of a kernel release; (0, 0) if the text does not start with them."""
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def tick_ns() -> int:
    """Length of a jiffy in ns: the resolution of the coarse clocks is the tick (kernel/time/posix-timers.c,
    posix_get_coarse_res: KTIME_LOW_RES)."""
    return round(time.clock_getres(_CLOCK_MONOTONIC_COARSE) * 1e9)


def possible_cpus(path: Path = Path("/sys/devices/system/cpu/possible")) -> int:
    """The highest possible number of CPUs: one more than the largest in a list such as `0-3,8-11`."""
    return max(int(number) for number in re.findall(r"\d+", path.read_text())) + 1


def cores(root: Path = Path("/sys/devices/system/cpu")) -> dict[int, int]:
    """For each online CPU the first CPU of its core: hyperthreads share MSR_TEST_CTRL."""
    found = {}
    for path in root.glob("cpu[0-9]*/topology/thread_siblings_list"):
        siblings = [int(number) for number in re.findall(r"\d+", path.read_text())]
        found[int(path.parent.parent.name.removeprefix("cpu"))] = min(siblings)
    return dict(sorted(found.items()))


def tracefs() -> Path | None:
    """The mount point of tracefs, if its events are readable; else None."""
    for path in (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing")):
        if os.access(path / "events", os.R_OK | os.X_OK):
            return path
    return None


def has_tracepoint(category: str, name: str) -> bool:
    """Does this kernel, with the modules loaded now, have the tracepoint?"""
    root = tracefs()
    return root is not None and (root / "events" / category / name / "format").exists()


def lockdown() -> str:
    """Lockdown mode: `none`, `integrity`, `confidentiality`, or `unknown` if it cannot be read."""
    try:
        text = Path("/sys/kernel/security/lockdown").read_text()
    except OSError:
        return "unknown"
    match = re.search(r"\[(\w+)\]", text)
    return match[1] if match else "unknown"
