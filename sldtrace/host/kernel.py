"""The running kernel: its release, its clock tick and its symbols."""

import os
import re
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

HANDLER = "handle_guest_split_lock"
"""The function that KVM calls for the #AC of a guest's split lock (d7e94dbdac1a, 5.7)."""

PER_CPU_WORK = "sl_reenable"
"""The work item of the re-enable; a per-CPU variable since c929d08df8be (6.15)."""
GENERATION_SYMBOLS = frozenset(
    {
        HANDLER,
        "__split_lock_reenable",
        "__split_lock_reenable_unlock",
        "setup_split_lock_delayed_work",
        PER_CPU_WORK,
    }
)
"""The symbols that distinguish the generations of the handler (see model.generation): functions that no
compiler removes, because their address is taken, and PER_CPU_WORK if it is per CPU. A backport has them."""

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


def symbols(names: set[str], kallsyms: Path = Path("/proc/kallsyms")) -> set[str]:
    """Those of the names that are functions of the kernel (of its image or of a module)."""
    return _symbols(names, kallsyms.read_bytes())


def _symbols(names: Iterable[str], text: bytes) -> set[str]:
    either = b"|".join(re.escape(name.encode()) for name in names)
    # In one search: line by line takes seconds on a slow host.
    lines = re.finditer(rb" [tTwW] (" + either + rb")(?=\s)", text)
    return {match[1].decode() for match in lines} if either else set()


@cache
def generation_symbols(kallsyms: Path = Path("/proc/kallsyms")) -> frozenset[str]:
    """Which of GENERATION_SYMBOLS this kernel has; read once, as kallsyms has some 100,000 lines.

    A variable is listed with CONFIG_KALLSYMS_ALL only. One for each CPU is an offset there, so absolute (A);
    since 6.15 it is an address like others, but then there is setup_split_lock_delayed_work (0e1ff67d164b).
    """
    text = kallsyms.read_bytes()
    per_cpu = re.search(rb" [aA] " + PER_CPU_WORK.encode() + rb"\s", text)
    return frozenset(_symbols(GENERATION_SYMBOLS, text)) | ({PER_CPU_WORK} if per_cpu else set())


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
