"""The facts about the host at the beginning of every recording."""

import os
import time
from pathlib import Path
from typing import Any

from sldtrace._version import __version__
from sldtrace.host import kallsyms, kernel, kvm, livepatch, split_lock


def clock() -> dict[str, int]:
    """The same moment on two clocks, in ns; converts the records' CLOCK_MONOTONIC to wall time."""
    before = time.monotonic_ns()
    realtime = time.time_ns()
    return {"monotonic_ns": (before + time.monotonic_ns()) // 2, "realtime_ns": realtime}


def moment() -> dict[str, Any]:
    """The current values of the facts that may change during a recording: clock and split_lock."""
    return {"clock": clock(), "split_lock": _split_lock(Path("/proc"))}


def _split_lock(proc: Path) -> dict[str, Any]:
    lock = split_lock.read(proc)
    return {
        "mode": lock.mode,
        "detects_split_locks": lock.detects_split_locks,
        "detects_bus_locks": lock.detects_bus_locks,
        "mitigate": lock.mitigate,
    }


# Random at each boot (random(4)): recordings with the same one have the same CLOCK_MONOTONIC.
def _boot_id(proc: Path) -> str | None:
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def read(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> dict[str, Any]:
    """Facts as plain JSON values; every reader of recordings relies on these names.

    tool (name, version), clock (see `clock`), host (name, boot_id), kernel (release, version, tick_ns,
    lockdown, symbols: see kallsyms.generation_symbols, replaced: see livepatch.replaced), cpu (vendor,
    model, online: how many, cores: for each CPU the first CPU of its core), split_lock (see
    host.split_lock.SplitLock), kvm (module, nested: see host.kvm).
    """
    cpu = split_lock.cpu_fields((proc / "cpuinfo").read_text(errors="replace"))
    module = kvm.module(set(cpu.get("flags", "").split()), proc, sys)
    return {
        "tool": {"name": "sldtrace", "version": __version__},
        "clock": clock(),
        "host": {"name": os.uname().nodename, "boot_id": _boot_id(proc)},
        "kernel": {
            "release": kernel.release(),
            "version": os.uname().version,
            "tick_ns": kernel.tick_ns(),
            "lockdown": kernel.lockdown(),
            "symbols": sorted(kallsyms.generation_symbols()),
            "replaced": livepatch.replaced(sys),
        },
        "cpu": {
            "vendor": cpu.get("vendor_id", "unknown"),
            "model": cpu.get("model name", "unknown"),
            "online": os.cpu_count(),
            "cores": {str(cpu): first for cpu, first in kernel.cores().items()},
        },
        "split_lock": _split_lock(proc),
        "kvm": {"module": module, "nested": kvm.nested(module, sys)},
    }
