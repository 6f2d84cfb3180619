"""Finds vCPUs that trap for ever because a signal ends each wait for the penalty's semaphore.

The sleep is slept to the end (or was not needed), then `if (down_interruptible(&buslock_sem) == -EINTR)
return;` in split_lock_warn (b041b525dab9). A free semaphore is taken without a look at signals; while
another thread's penalty holds it, a pending signal gives -EINTR at once (kernel/locking/semaphore.c).
"""

from sldtrace.analyzers import loops, remedies
from sldtrace.analyzers.finding import Finding, Remedy
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset.trace import Trace
from sldtrace.model import early_returns as rule
from sldtrace.model.penalty import WINDOW_JIFFIES
from sldtrace.text.phrases import ms

KIND = rule.SEMAPHORE
TITLE = "loops at the penalty's semaphore"
NEEDS = Needs(("trap",), probes=("down_interruptible",))


def find(trace: Trace) -> list[Finding[loops.LoopNumbers]]:
    """One finding for each vCPU and address with loops, the longest first."""
    return [
        loops.finding(trace, each, _cause(trace, each), _remedies(trace, each))
        for each in loops.of(trace)
        if each.kind == KIND
    ]


def _cause(trace: Trace, each: loops.Loops) -> str:
    what = loops.what_ended_it(trace, each.numbers.signal)
    tick = each.penalty.tick_ns
    held = f"{ms(WINDOW_JIFFIES * tick)} to {ms((WINDOW_JIFFIES + 1) * tick)} ms"
    return (
        f"{loops.punishment(each.penalty)} Behind the sleep is a semaphore, one for the whole host, which "
        f"each penalty holds for {held}. {what} ended the wait for it, "
        f"{each.numbers.semaphore_early_returns:,} times: others' penalties held it. The kernel then "
        "returns with detection still on, and the same instruction traps "
        f"again.{loops.assumed(each.penalty)}"
    )


def _remedies(trace: Trace, each: loops.Loops) -> list[Remedy]:
    return [
        *remedies.no_penalty(trace, each.penalty),
        remedies.fewer_at_once(),
        remedies.period_of(each.numbers.least_period_ns or 0, each.numbers.other_threads or 0),
        remedies.align(guest=True),
        remedies.no_detection(),
    ]
