"""How long the penalty sleep of a given kernel lasts, and which timer periods let a vCPU through it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sldtrace.host import kernel

SLEEP_MS = 10
"""What split_lock_warn asks msleep_interruptible for (arch/x86/kernel/cpu/bus_lock.c; b041b525dab9)."""

# 4381b895f544 (6.12): msleep_interruptible no longer adds a jiffy to what it was asked for.
_WITHOUT_EXTRA_JIFFY = (6, 12)
_USUAL_TICK_NS = 4_000_000  # Debian, Ubuntu, SUSE; RHEL and Fedora have 1 ms
# c929d08df8be and 0e1ff67d164b: each CPU re-enables its own detection; before, all shared one work item.
_REENABLED_PER_CPU = (6, 15)


@dataclass(frozen=True)
class Penalty:
    """The penalty of one kernel.

    tick_ns: length of a jiffy; sleep_jiffies: what msleep_interruptible(10) asks the timer wheel for.
    shared_reenable: see `_REENABLED_PER_CPU`; known: False if it is a guess because the kernel's version is
    not known.

    The sleep begins somewhere between two ticks. Its result is the number of jiffies that are left when the
    thread wakes up (schedule_timeout), so a signal makes it return early until `sleep_jiffies` ticks have
    come. Left alone it lasts one tick longer than that: the wheel rounds up, lest a timer that was armed at
    the edge of a tick expires too soon (kernel/time/timer.c, calc_index).
    """

    tick_ns: int
    sleep_jiffies: int
    shared_reenable: bool
    known: bool

    @property
    def dead_ns(self) -> int:
        """With a signal this long after the sleep's begin, or sooner, it always returns early."""
        return (self.sleep_jiffies - 1) * self.tick_ns

    @property
    def alive_ns(self) -> int:
        """With more than this between signals every vCPU gets through; between the two, chance decides."""
        return self.sleep_jiffies * self.tick_ns

    @property
    def shortest_sleep_ns(self) -> int:
        """The shortest sleep that no signal cuts short."""
        return self.sleep_jiffies * self.tick_ns

    @property
    def longest_sleep_ns(self) -> int:
        """The longest such sleep, on a CPU that is free when it ends."""
        return (self.sleep_jiffies + 1) * self.tick_ns


def msecs_to_jiffies(ms: int, tick_ns: int) -> int:
    """Jiffies that cover `ms`, rounded up (kernel/time/time.c, msecs_to_jiffies)."""
    hz = round(1e9 / tick_ns)
    return -(-ms * hz // 1000)


def of(release: str, tick_ns: int) -> Penalty:
    """The penalty of the kernel with this `uname -r` and tick."""
    version = kernel.version(release)
    known = version != (0, 0)
    jiffies = msecs_to_jiffies(SLEEP_MS, tick_ns)
    if version < _WITHOUT_EXTRA_JIFFY:
        jiffies += 1
    return Penalty(tick_ns, jiffies, version < _REENABLED_PER_CPU, known)


def of_facts(facts: Mapping[str, Any]) -> Penalty:
    """The penalty of the recorded host; where its facts are lost, that of the slowest kernel at HZ=250."""
    host = facts.get("kernel")
    release, tick = (host.get("release"), host.get("tick_ns")) if isinstance(host, dict) else (None, None)
    # HZ is 100 to 1000 (kernel/Kconfig.hz).
    if not isinstance(tick, int) or not 1_000_000 <= tick <= 10_000_000:
        tick = _USUAL_TICK_NS
    return of(release if isinstance(release, str) else "", tick)
