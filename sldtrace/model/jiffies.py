"""Conversions of the kernel's timers: jiffies, milliseconds, ticks."""


def msecs_to_jiffies(ms: int, tick_ns: int) -> int:
    """Jiffies that cover `ms`, rounded up (kernel/time/time.c, msecs_to_jiffies)."""
    return -(-ms * _hz(tick_ns) // 1000)


def jiffies_to_msecs(jiffies: int, tick_ns: int) -> int:
    """Milliseconds that cover `jiffies` (kernel/time/time.c, jiffies_to_msecs): 4, 7, 10 at HZ=300."""
    return -(-jiffies * 1000 // _hz(tick_ns))


def expiry_ns(now_ns: int, jiffies: int, tick_ns: int) -> int:
    """The tick at which a timer fires that is armed at `now_ns` with this timeout.

    The wheel rounds up, so that a timer armed just before a tick does not expire too soon
    (kernel/time/timer.c, calc_index; exact below 63 jiffies, LVL_CLK_SHIFT), so it takes `jiffies` to
    `jiffies` + 1 ticks.
    """
    return (now_ns // tick_ns + jiffies + 1) * tick_ns


def left(begin_ns: int, jiffies: int, now_ns: int, tick_ns: int) -> int:
    """Whole jiffies left at `now_ns` of a sleep that began at `begin_ns` (schedule_timeout); at least 0."""
    return max(begin_ns // tick_ns + jiffies - now_ns // tick_ns, 0)


def _hz(tick_ns: int) -> int:
    return round(1e9 / tick_ns)
