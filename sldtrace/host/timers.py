"""Timers of processes, from /proc, which has no intervals of timers that send signals."""

import re
from dataclasses import dataclass
from pathlib import Path

# include/uapi/linux/time.h; negative ones are CPU clocks of a process or thread (posix-timers.h).
_CLOCKS = {0: "CLOCK_REALTIME", 1: "CLOCK_MONOTONIC", 7: "CLOCK_BOOTTIME"}
_ENTRY = re.compile(
    r"^ID: (-?\d+)\nsignal: (\d+)/\S*\nnotify: (\w+)/(pid|tid)\.(-?\d+)\nClockID: (-?\d+)$", re.MULTILINE
)


@dataclass(frozen=True)
class PosixTimer:
    """A timer of timer_create(2) as in proc_pid_timers(5), without its interval and whether it is armed.

    signal: its number; notify: signal, thread or none; target: TID where to_thread is true, else TGID.
    """

    id: int
    signal: int
    notify: str
    to_thread: bool
    target: int
    clock: str

    @property
    def signals(self) -> bool:
        """Does it send a signal?"""
        return self.notify == "signal"


@dataclass(frozen=True)
class Armed:
    """Armed timers of the whole host that send signals, from /proc/timer_list, which does not name the owner.

    posix: of timer_create(2), without CPU clocks; interval: ITIMER_REAL of setitimer(2), and alarm(2).
    """

    posix: int
    interval: int


def posix(tgid: int, proc: Path = Path("/proc")) -> list[PosixTimer] | None:
    """The POSIX timers of a process; None if they cannot be read (it ended; no CONFIG_CHECKPOINT_RESTORE)."""
    try:
        text = (proc / str(tgid) / "timers").read_text(errors="replace")
    except OSError:
        return None
    return [
        PosixTimer(int(id), int(number), notify, kind == "tid", int(target), clock_name(int(clock)))
        for id, number, notify, kind, target, clock in _ENTRY.findall(text)
    ]


def clock_name(number: int) -> str:
    """CLOCK_MONOTONIC for 1; `clock N` for a clock without a name here, `CPU time` for negative numbers."""
    return "CPU time" if number < 0 else _CLOCKS.get(number, f"clock {number}")


def armed(path: Path = Path("/proc/timer_list")) -> Armed | None:
    """Counts by the functions that the timers call; None if the file cannot be read (only root can)."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return None
    return Armed(
        posix=len(re.findall(r"^ #\d+: .*\bposix_timer_fn\b", text, re.MULTILINE)),
        interval=len(re.findall(r"^ #\d+: .*\bit_real_fn\b", text, re.MULTILINE)),
    )
