"""The split-lock settings of this host: CPU flags, boot mode, the mitigation sysctl."""

import re
from dataclasses import dataclass
from pathlib import Path

MITIGATE = Path("/proc/sys/kernel/split_lock_mitigate")


@dataclass(frozen=True)
class SplitLock:
    """State of split-lock detection.

    mode: off, warn, fatal, ratelimit:N as chosen at boot (Documentation/admin-guide/kernel-parameters.txt,
    split_lock_detect=; `warn` is the default), or `unsupported` if the CPU can raise neither #AC nor #DB.
    mitigate: kernel.split_lock_mitigate; None if the sysctl does not exist (before 6.2, 727209376f49).
    """

    mode: str
    detects_split_locks: bool
    detects_bus_locks: bool
    mitigate: int | None

    @property
    def traps_bus_locks(self) -> bool:
        """Do bus locks of programs raise #DB?

        Where the CPU has #AC, the modes warn and fatal use that instead (bus_lock_init, ebb1064e7c2e).
        """
        by_ac = self.detects_split_locks and self.mode in ("warn", "fatal")
        return self.detects_bus_locks and self.mode not in ("off", "unsupported") and not by_ac

    def why_no_traps(self) -> str | None:
        """Why no split lock can trap on this host (as #AC); None if one can."""
        if not self.detects_split_locks:
            return "this CPU has no split-lock detection: split locks do not trap on this host"
        if self.mode == "off" or self.mode.startswith("ratelimit"):
            return f"booted with split_lock_detect={self.mode}: split locks do not trap on this host"
        return None


def parse_mode(cmdline: str, flags: set[str]) -> str:
    """The boot mode from the kernel's command line and the CPU's flags.

    The last option counts; an unknown one means `warn` (sld_state_setup, match_option).
    """
    if not flags & {"split_lock_detect", "bus_lock_detect"}:
        return "unsupported"
    chosen = re.findall(r"(?:^|\s)split_lock_detect=(\S+)", cmdline)
    option = chosen[-1] if chosen else ""
    limit = re.match(r"ratelimit:(\d{1,4})", option, re.ASCII)
    if limit and 1 <= int(limit[1]) <= 1000:
        return f"ratelimit:{int(limit[1])}"
    return option if option in ("off", "fatal") else "warn"


def cpu_fields(cpuinfo: str) -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo."""
    first = cpuinfo.split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def read(proc: Path = Path("/proc")) -> SplitLock:
    """The state on the running host."""
    flags = set(cpu_fields((proc / "cpuinfo").read_text(errors="replace")).get("flags", "").split())
    try:
        mitigate = int((proc / "sys/kernel/split_lock_mitigate").read_text())
    except (OSError, ValueError):
        mitigate = None
    return SplitLock(
        mode=parse_mode((proc / "cmdline").read_text(errors="replace"), flags),
        detects_split_locks="split_lock_detect" in flags,
        detects_bus_locks="bus_lock_detect" in flags,
        mitigate=mitigate,
    )
