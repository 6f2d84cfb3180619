"""The penalty of a given kernel: the length of its sleep, its thresholds, whether it is on."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sldtrace.host import kernel
from sldtrace.model import generation as generations
from sldtrace.model.generation import Generation
from sldtrace.model.jiffies import msecs_to_jiffies

SLEEP_MS = 10
"""What split_lock_warn asks msleep_interruptible for (arch/x86/kernel/cpu/bus_lock.c; b041b525dab9)."""

WINDOW_JIFFIES = 2
"""How long detection stays off, as schedule_delayed_work_on is asked for (b041b525dab9)."""

BY_VERSION = -1
"""In place of the sysctl's value: not known, decided by the kernel's version."""

# msleep_interruptible no longer adds a jiffy to what it was asked for.
_WITHOUT_EXTRA_JIFFY = (6, 12)
_USUAL_TICK_NS = 4_000_000  # Debian, Ubuntu, SUSE; RHEL and Fedora have 1 ms


@dataclass(frozen=True)
class Penalty:
    """The penalty of one kernel.

    tick_ns: length of a jiffy; sleep_jiffies: timeout that msleep_interruptible(10) passes to the timer
    wheel; generation: what else depends on the kernel's version; mode: split_lock_detect= of the boot (off,
    warn, fatal, ratelimit:N, unsupported); mitigate: kernel.split_lock_mitigate, None where it does not
    exist; known: False if it is a guess because the kernel's version is not known.

    The sleep begins somewhere between two ticks. Its result is the number of jiffies that are left when the
    thread wakes up (schedule_timeout), so a signal makes it return early until `sleep_jiffies` ticks have
    come. Left alone it lasts one tick longer than that (see `jiffies.expiry_ns`).
    """

    tick_ns: int
    sleep_jiffies: int
    generation: Generation
    mode: str
    mitigate: int | None
    known: bool

    @property
    def shared_reenable(self) -> bool:
        """See `Generation`."""
        return self.generation.shared_reenable

    @property
    def traps(self) -> bool:
        """Whether a split lock of a guest raises #AC. In the modes off and ratelimit (#DB) it does not."""
        return self.mode in ("warn", "fatal")

    @property
    def penalizes(self) -> bool:
        """Whether a split lock causes a penalty."""
        return self.mode == "warn" and self.generation.sleeps and self.mitigate != 0

    @property
    def always_early_below_ns(self) -> int:
        """With a signal this long after the start of the sleep, or sooner, the trap always returns early."""
        return (self.sleep_jiffies - 1) * self.tick_ns

    @property
    def always_completes_above_ns(self) -> int:
        """With more than this between signals every penalty completes; between the two, chance decides."""
        return self.sleep_jiffies * self.tick_ns

    @property
    def shortest_sleep_ns(self) -> int:
        """The shortest sleep that no signal ends."""
        return self.sleep_jiffies * self.tick_ns

    @property
    def window_ns(self) -> int:
        """How long detection is off after a completed penalty, at least; at most a jiffy longer."""
        return WINDOW_JIFFIES * self.tick_ns

    @property
    def longest_sleep_ns(self) -> int:
        """The longest such sleep, on a CPU that is free when it ends."""
        return (self.sleep_jiffies + 1) * self.tick_ns


def sleep_jiffies(tick_ns: int) -> tuple[int, int]:
    """Jiffies of msleep_interruptible(10): since 6.12, and before (4381b895f544)."""
    asked = msecs_to_jiffies(SLEEP_MS, tick_ns)
    return asked, asked + 1


def for_kernel(
    release: str,
    tick_ns: int,
    *,
    mode: str = "warn",
    mitigate: int | None = BY_VERSION,
    slept: bool = False,
    symbols: Collection[str] = (),
) -> Penalty:
    """The penalty of the kernel with this `uname -r` and tick.

    mode, mitigate: as `host.split_lock.SplitLock` has them (mitigate None: the sysctl does not exist;
    BY_VERSION: nothing is known of it, and where it should exist it is 1); slept: see
    `generation.for_release`; symbols: those of host.kallsyms.GENERATION_SYMBOLS that it has,
    empty: not known.
    """
    version = kernel.version(release)
    jiffies = sleep_jiffies(tick_ns)[version < _WITHOUT_EXTRA_JIFFY]
    by_version = mitigate == BY_VERSION
    generation = generations.from_symbols(symbols) or generations.for_release(
        release, None if by_version else mitigate is not None, slept
    )
    switch = None if not generation.switchable else 1 if by_version else mitigate
    return Penalty(tick_ns, jiffies, generation, mode, switch, known=version != (0, 0))


def from_facts(facts: Mapping[str, Any], slept: bool = False) -> Penalty:
    """The penalty of the recorded host; where its facts are lost, that of the slowest kernel at HZ=250."""
    host, lock = facts.get("kernel"), facts.get("split_lock")
    host = host if isinstance(host, dict) else {}
    release, tick, symbols = (host.get(name) for name in ("release", "tick_ns", "symbols"))
    # HZ is 100 to 1000 (kernel/Kconfig.hz).
    if not isinstance(tick, int) or not 1_000_000 <= tick <= 10_000_000:
        tick = _USUAL_TICK_NS
    symbols = symbols if isinstance(symbols, list) else []
    lock = lock if isinstance(lock, dict) else {}
    mode, mitigate = lock.get("mode"), lock.get("mitigate", BY_VERSION)
    return for_kernel(
        release if isinstance(release, str) else "",
        tick,
        mode=mode if isinstance(mode, str) else "warn",
        mitigate=mitigate if mitigate is None or isinstance(mitigate, int) else BY_VERSION,
        slept=slept,
        symbols=[each for each in symbols if isinstance(each, str)],
    )
