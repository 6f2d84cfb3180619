"""The facts about the host that open every recording."""

import os
import time
from pathlib import Path
from typing import Any

from sldtrace import __version__
from sldtrace.host import kernel, kvm, splitlock


def clock() -> dict[str, int]:
    """One moment on two clocks, in ns: turns the records' CLOCK_MONOTONIC into wall time."""
    before = time.monotonic_ns()
    realtime = time.time_ns()
    return {"monotonic_ns": (before + time.monotonic_ns()) // 2, "realtime_ns": realtime}


def read(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> dict[str, Any]:
    """Facts as plain JSON values; every reader of recordings relies on these names.

    tool (name, version), clock (see `clock`), host (name), kernel (release, version, tick_ns, lockdown),
    cpu (vendor, model, online: how many, cores: for each CPU the first CPU of its core), split_lock (see
    host.splitlock.SplitLock), kvm (module: see host.kvm.module).
    """
    lock = splitlock.read(proc)
    cpu = splitlock.cpu_fields((proc / "cpuinfo").read_text(errors="replace"))
    return {
        "tool": {"name": "sldtrace", "version": __version__},
        "clock": clock(),
        "host": {"name": os.uname().nodename},
        "kernel": {
            "release": kernel.release(),
            "version": os.uname().version,
            "tick_ns": kernel.tick_ns(),
            "lockdown": kernel.lockdown(),
        },
        "cpu": {
            "vendor": cpu.get("vendor_id", "unknown"),
            "model": cpu.get("model name", "unknown"),
            "online": os.cpu_count(),
            "cores": {str(cpu): first for cpu, first in kernel.cores().items()},
        },
        "split_lock": {
            "mode": lock.mode,
            "detects_split_locks": lock.detects_split_locks,
            "detects_bus_locks": lock.detects_bus_locks,
            "mitigate": lock.mitigate,
        },
        "kvm": {"module": kvm.module(set(cpu.get("flags", "").split()), proc, sys)},
    }
