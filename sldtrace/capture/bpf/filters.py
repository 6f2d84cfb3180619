"""Filters of the command line, as conditions that are compiled into the probes."""

from dataclasses import dataclass
from typing import Any

RECENT_NS = 1_000_000_000
"""For this long after a trap the VM exits, signals and migrations of a thread are recorded."""

_COMM_BYTES = 16  # include/linux/sched.h, TASK_COMM_LEN


@dataclass(frozen=True)
class Filters:
    """A trap must match all filters that are given; of a filter with several values, one."""

    tgids: tuple[int, ...] = ()
    tids: tuple[int, ...] = ()
    addresses: tuple[tuple[int, int], ...] = ()  # of the instruction: first and last
    comm: str | None = None  # name of the thread; `*` at its end matches any rest
    cgroup: tuple[int, int] | None = None  # id and depth below the root of a cgroup v2, with its descendants
    cgroup_name: str | None = None  # --cgroup
    vm: str | None = None  # compared by the recorder, which then filters processes

    def flags(self) -> list[str]:
        """The compiler's flags."""
        flags = [
            "-DSLD_SELECTS_TGID(x)=" + _any(f"(x)=={tgid}" for tgid in self.tgids),
            "-DSLD_SELECTS_TID(x)=" + _any(f"(x)=={tid}" for tid in self.tids),
            "-DSLD_SELECTS_RIP(x)="
            + _any(f"((x)>={first:#x}ULL&&(x)<={last:#x}ULL)" for first, last in self.addresses),
            f"-DSLD_RECENT_NS={RECENT_NS}ULL",
        ]
        if self.comm is not None:
            flags.append("-DSLD_SELECTS_COMM(a,b)=" + _comm(self.comm))
        if self.cgroup is not None:
            flags += [f"-DSLD_CGROUP={self.cgroup[0]}ULL", f"-DSLD_CGROUP_LEVEL={self.cgroup[1]}"]
        if self.vm is not None:
            flags.append("-DSLD_BY_VM")
        return flags

    def fact(self) -> dict[str, Any]:
        """The filters that are given, by option, as JSON values."""
        return {
            name: value
            for name, value in (
                ("pid", list(self.tgids)),
                ("tid", list(self.tids)),
                ("address", [list(pair) for pair in self.addresses]),
                ("comm", self.comm),
                ("cgroup", self.cgroup_name),
                ("vm", self.vm),
            )
            if value
        }


def _any(conditions: Any) -> str:
    return "(" + ("||".join(conditions) or "1") + ")"


def _comm(pattern: str) -> str:
    # The name as two words of eight bytes; bytes that may be anything are masked out.
    text = pattern.removesuffix("*").encode("utf-8", "surrogateescape")[: _COMM_BYTES - 1]
    name = text.ljust(_COMM_BYTES, b"\0")
    mask = (b"\xff" * len(text)).ljust(_COMM_BYTES, b"\0" if pattern.endswith("*") else b"\xff")
    words = []
    for word, at in (("(a)", 0), ("(b)", 8)):
        wanted, bits = (int.from_bytes(each[at : at + 8], "little") for each in (name, mask))
        words.append(f"({word}&{bits:#x}ULL)=={wanted:#x}ULL")
    return f"({'&&'.join(words)})"
