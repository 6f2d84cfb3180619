"""Every number that decides about a finding; docs/report.md has this table (python -m tools.thresholds_page).

The thresholds of loops are in sldtrace.model.early_returns, because the recorder applies them too.
"""

from dataclasses import dataclass

from sldtrace.engine import defeats, lock_waits, loops, semaphore_waits, windows
from sldtrace.model import early_returns as rule


@dataclass(frozen=True)
class Threshold:
    """One threshold."""

    findings: str  # kinds of finding, with commas between
    value: float
    unit: str
    meaning: str  # what it is compared with
    reason: str  # why it has this value


_LOOPS = f"{rule.SLEEP}, {rule.SEMAPHORE}, {rule.PROGRAM}"

LOOP_TRAPS = Threshold(
    _LOOPS,
    rule.LOOP_TRAPS,
    "traps",
    "early returns of a loop, at least",
    "a signal may end two sleeps in a row by chance; then the third sleep completes",
)
LOOP_PENALTIES = Threshold(
    _LOOPS,
    rule.LOOP_PENALTIES,
    "longest sleep",
    "a loop lasts longer",
    "without the signals, the thread would have completed its penalty",
)
SEMAPHORE_SHARE = Threshold(
    f"{rule.SLEEP}, {rule.SEMAPHORE}",
    rule.SEMAPHORE_SHARE,
    "of the early returns",
    "early returns in the wait for the semaphore, more than",
    "most of them decide",
)
LIVELOCK_PENALTIES = Threshold(
    _LOOPS,
    rule.LIVELOCK_PENALTIES,
    "longest sleeps",
    "the longest loop of a livelock, at least",
    "chance makes no stretch of this length",
)
LIVELOCK_PENALTIES_WITH_PROGRESS = Threshold(
    _LOOPS,
    rule.LIVELOCK_PENALTIES_WITH_PROGRESS,
    "longest sleeps",
    "the longest loop of a livelock, of a thread with several loops, at least",
    "between the two limits of a kernel, chance makes stretches of some length",
)
LIVELOCK_TRAPS = Threshold(
    _LOOPS,
    rule.LIVELOCK_TRAPS,
    "traps",
    "early returns of a livelock, at least",
    "few traps prove little",
)
PHASE_PENALTIES = Threshold(
    _LOOPS,
    loops.PHASE_PENALTIES,
    "longest sleeps",
    "a pause between two loops that makes them two phases, longer than",
    "a pause as long as the shortest livelock is no chance",
)
ONGOING_PENALTIES = Threshold(
    f"{_LOOPS}, migration-defeat, semaphore-queue, toggle-storm, penalty-slowdown",
    2,
    "longest sleeps",
    "from the end of a finding to the end of the recording, less than: the finding is ongoing",
    "in less time no trap shows that it ended",
)
MIGRATION_WINDOW_JIFFIES = Threshold(
    "migration-defeat",
    defeats.WINDOW,
    "jiffies",
    "from the end of a penalty to the next trap on another core, less than",
    "detection is off for two jiffies",
)
MIGRATION_PENALTIES = Threshold(
    "migration-defeat",
    defeats.PENALTIES,
    "penalties",
    "penalties with such a trap, at least",
    "the load balancer moves any thread once or twice",
)
MIGRATION_SHARE = Threshold(
    "migration-defeat",
    defeats.SHARE,
    "of the completed penalties",
    "penalties with such a trap, at least",
    "most of them decide",
)
QUEUE_WAIT_JIFFIES = Threshold(
    "semaphore-queue",
    semaphore_waits.WAIT_JIFFIES,
    "jiffy",
    "a wait for the semaphore that counts, at least",
    "a free semaphore is taken at once, a held one is released at a tick",
)
QUEUE_WAITS = Threshold(
    "semaphore-queue",
    3,
    "waits",
    "such waits of a thread, at least",
    "two penalties may coincide by chance",
)
QUEUE_SHARE = Threshold(
    "semaphore-queue", 0.05, "of the thread's time", "such waits, at least", "users of the guest notice it"
)
QUEUE_HOLDERS = Threshold(
    "semaphore-queue", 2, "threads", "threads that hold the semaphore, at least", "one thread is no queue"
)
SLOWDOWN_PENALTIES = Threshold(
    "penalty-slowdown", 3, "penalties", "penalties of a thread, at least", "fewer have no time between them"
)
SLOWDOWN_SHARE = Threshold(
    "penalty-slowdown",
    0.05,
    "of the thread's time",
    "time in penalties up to the last one, at least",
    "users of the guest notice it",
)
SLOWDOWN_WARNING_SHARE = Threshold(
    "penalty-slowdown",
    0.2,
    "of the thread's time",
    "time in penalties, at least: a warning",
    "a quarter more time for the same work",
)
CPU_WAIT_SHARE = Threshold(
    f"penalty-slowdown, semaphore-queue, {_LOOPS}",
    0.05,
    "of the time sampled",
    "waiting for a CPU, or throttled by a quota, at least: the finding says so",
    "users of the guest notice it",
)
LOCK_WAIT_JIFFIES = Threshold(
    "lock-hold",
    lock_waits.WAIT_JIFFIES,
    "jiffy",
    "a wait that counts, at least",
    "a penalty's sleep is whole jiffies",
)
ENDING_SHARE = Threshold(
    _LOOPS,
    0.1,
    "of the early returns",
    "what ended the sleeps has a remedy of its own, at least",
    "rarer causes do not keep a thread in a loop",
)
LOCK_WARNING_PENALTIES = Threshold(
    "lock-hold", 1, "shortest sleep", "the longest wait, at least: a warning", "a whole penalty"
)
LOCK_WARNING_TIME = Threshold(
    "lock-hold",
    3,
    "shortest sleeps",
    "all waits together, at least: a warning",
    "one whole penalty is chance",
)
LOCK_CERTAIN_SHARE = Threshold(
    "lock-hold", 0.5, "of the time waited", "time in penalties, at least: certain", "most of it decides"
)
LEFT_OFF_JIFFIES = Threshold(
    "detection-left-off",
    windows.LEFT_OFF_JIFFIES,
    "jiffies",
    "detection off after the last penalty on a core, longer than",
    "no worker of a busy host is that late",
)
TOGGLE_JIFFIES = Threshold(
    "toggle-storm",
    windows.TOGGLE_JIFFIES,
    "jiffy",
    "detection off after a penalty, less than",
    "the kernel waits two, and a tick may come before the write",
)
TOGGLE_WINDOWS = Threshold(
    "toggle-storm", 3, "times", "too short on a core, at least", "once or twice it may be by chance"
)
TOGGLE_SHARE = Threshold(
    "toggle-storm",
    0.5,
    "of the times that detection is off on the core",
    "too short, at least",
    "most of them decide",
)
BUS_LOCK_WARNING_SHARE = Threshold(
    "bus-lock",
    0.05,
    "of the thread's time",
    "time outside of the guest, or in handle_bus_lock, at least: a warning",
    "users of the guest or the program notice it",
)
GUEST_AC_EXITS = Threshold(
    "guest-ac",
    3,
    "VM exits",
    "exits by #AC without a trap, at least",
    "a trap at the begin or the end of a counter's time is counted on one side only",
)
GUEST_AC_SURPLUS = Threshold(
    "guest-ac",
    0.1,
    "of the vCPU's traps",
    "more exits by #AC than traps, where only counters tell, at least",
    "counters and traps do not end at the same moment",
)

TABLE: tuple[Threshold, ...] = tuple(each for each in vars().values() if isinstance(each, Threshold))
"""All of them, in this order."""
