"""How many split locks are executed, and how far apart."""

from dataclasses import dataclass

MOST_LOCKS = 50
"""At most this many split locks, unless the user asks for more."""

SPACINGS_NS = tuple(ms * 1_000_000 for ms in (20, 0, 1, 2, 4, 6, 8, 10, 12, 16))
"""Pauses before a split lock. After a penalty detection is off for two to three jiffies, 2 to 30 ms."""

LIMIT_NS = 2_000_000_000
"""No split lock begins later than this after the first one."""

STUCK_NS = 2_000_000_000
"""A split lock that takes longer than this is not waited for: the longest known penalty is 30 ms."""

LIVELOCK_PERIOD_NS = 1_000_000
LIVELOCK_LIMIT_NS = 300_000_000
"""A split lock under periodic signals that takes longer than this is a livelock, and is ended."""


@dataclass(frozen=True)
class Plan:
    """Split locks after each pause of `spacings_ns` in turn, `locks` in all; each after an aligned lock.

    period_ns: of a signal (SIGALRM) that comes all the time; 0: none.
    """

    locks: int = MOST_LOCKS
    spacings_ns: tuple[int, ...] = SPACINGS_NS
    limit_ns: int = LIMIT_NS
    stuck_ns: int = STUCK_NS
    period_ns: int = 0

    def pauses(self) -> list[int]:
        """The pause before each split lock, in ns."""
        return [self.spacings_ns[number % len(self.spacings_ns)] for number in range(self.locks)]


LIVELOCK = Plan(locks=1, spacings_ns=(40_000_000,), stuck_ns=LIVELOCK_LIMIT_NS, period_ns=LIVELOCK_PERIOD_NS)
"""One split lock under a signal each millisecond, after detection is on again on every kernel."""
