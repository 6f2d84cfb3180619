"""Whether tracing programs may be loaded here: capabilities, tracefs, lockdown; each lack is one line."""

import os
import re
from pathlib import Path

from sldtrace.errors import SldtraceError
from sldtrace.host import kernel

# include/uapi/linux/capability.h
CAP_SYS_ADMIN = 21
CAP_PERFMON = 38
CAP_BPF = 39


def effective_capabilities(status: Path = Path("/proc/self/status")) -> int:
    """The effective capability set of this process as a bit mask."""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", status.read_text(), re.MULTILINE)
    return int(match[1], 16) if match else 0


def may_trace(capabilities: int) -> bool:
    """May the process load tracing programs? By CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON (a17b53c4a4b5)."""
    needed = 1 << CAP_BPF | 1 << CAP_PERFMON
    return bool(capabilities >> CAP_SYS_ADMIN & 1) or capabilities & needed == needed


def require() -> None:
    """Raises SldtraceError, with what to do, if recording cannot work here."""
    if os.uname().machine != "x86_64":
        raise SldtraceError(
            f"this is an {os.uname().machine} machine", "split-lock detection exists on x86 only"
        )
    if not may_trace(effective_capabilities()):
        raise SldtraceError("recording needs the right to trace the kernel", "run it as root")
    if kernel.lockdown() == "confidentiality":
        raise SldtraceError(
            "the kernel is locked down (confidentiality) and refuses tracing programs",
            "boot with lockdown=integrity or less",
        )
    if kernel.tracefs() is None:
        raise SldtraceError("tracefs is not mounted", "mount -t tracefs tracefs /sys/kernel/tracing")
    if "handle_guest_split_lock" not in kernel.symbols({"handle_guest_split_lock"}):
        raise SldtraceError(
            f"kernel {kernel.release()} has no function handle_guest_split_lock",
            "split-lock detection needs Linux 5.7 or later on x86 with CONFIG_CPU_SUP_INTEL",
        )
