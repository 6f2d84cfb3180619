"""The generations of the kernel's split-lock handler, and which of them a recorded kernel has.

Facts of the host take precedence over the kernel's version, because distributions backport changes (Debian's
6.1 has kernel.split_lock_mitigate, which is from 6.2).
"""

from collections.abc import Collection
from dataclasses import dataclass

from sldtrace.host import kallsyms, kernel


@dataclass(frozen=True)
class Generation:
    """What split_lock_warn does in one range of kernels.

    name: the range; since: its first version; commit: what began it; symbols: what came with it, of
    host.kallsyms.GENERATION_SYMBOLS, one of which is enough; sleeps: the penalty exists (10 ms of
    msleep_interruptible, then a semaphore, then detection off for two jiffies); switchable: by the sysctl
    kernel.split_lock_mitigate; shared_reenable: with the penalty switched off all CPUs share one work item
    that switches detection on again, so of CPUs that trap at the same time only one gets it back.
    """

    name: str
    since: tuple[int, int]
    commit: str
    symbols: tuple[str, ...]
    sleeps: bool
    switchable: bool
    shared_reenable: bool


TASK_FLAG = Generation(
    "before 5.19", (5, 7), "6650cdd9a8cc, d7e94dbdac1a", (kallsyms.HANDLER,), False, False, False
)
"""Detection is off whenever the task that trapped runs (TIF_SLD): one trap a task, and no penalty."""

PENALTY = Generation("5.19 to 6.1", (5, 19), "b041b525dab9", ("__split_lock_reenable",), True, False, False)
"""The penalty, which nothing switches off."""

SWITCHABLE = Generation(
    "6.2 to 6.14", (6, 2), "727209376f49", ("__split_lock_reenable_unlock",), True, True, True
)
"""kernel.split_lock_mitigate=0: no sleep and no semaphore."""

PER_CPU = Generation(
    "6.15 and later",
    (6, 15),
    "c929d08df8be, 0e1ff67d164b",
    (kallsyms.PER_CPU_WORK, "setup_split_lock_delayed_work"),
    True,
    True,
    False,
)
"""Without the penalty each CPU has its own work item; the sysctl is read once in a run."""

GENERATIONS = (TASK_FLAG, PENALTY, SWITCHABLE, PER_CPU)


def from_symbols(found: Collection[str]) -> Generation | None:
    """The generation of a kernel that has these symbols; None without a handler for guests' split locks.

    This goes before any version: backports bring their symbols with them (Debian's 6.1.176 has c929d08df8be,
    its 6.12.107 has not).
    """
    if kallsyms.HANDLER not in found:
        return None
    return [each for each in GENERATIONS if not set(found).isdisjoint(each.symbols)][-1]


def for_release(release: str, has_sysctl: bool | None = None, slept: bool = False) -> Generation:
    """The generation of a kernel.

    release: `uname -r`; has_sysctl: whether kernel.split_lock_mitigate exists, None if that is not known;
    slept: a thread slept in split_lock_warn. A version that cannot be read is taken for
    PENALTY, or what the facts say.
    """
    version = kernel.version(release)
    found = PENALTY if version == (0, 0) else TASK_FLAG
    for each in GENERATIONS:
        if version >= each.since:
            found = each
    if has_sysctl and not found.switchable:
        return SWITCHABLE
    if has_sysctl is False and found.switchable:
        return PENALTY
    return PENALTY if slept and not found.sleeps else found
