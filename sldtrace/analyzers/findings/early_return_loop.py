"""Finds vCPUs that trap on one instruction for ever because a signal ends each penalty's sleep early.

The rule is `if (msleep_interruptible(10) > 0) return;` in split_lock_warn, arch/x86/kernel/cpu/bus_lock.c
(b041b525dab9); see sldtrace.model.early_returns.
"""

from sldtrace.analyzers import loops, remedies
from sldtrace.analyzers.finding import Finding, Remedy
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset.trace import Trace
from sldtrace.model import early_returns as rule
from sldtrace.text.phrases import ms

KIND = rule.SLEEP
TITLE = "loops of early returns"
NEEDS = Needs(("trap",))


def find(trace: Trace) -> list[Finding[loops.LoopNumbers]]:
    """One finding for each vCPU and address with loops, the longest first."""
    return [
        loops.finding(trace, each, _cause(trace, each), _remedies(trace, each))
        for each in loops.of(trace)
        if each.kind == KIND
    ]


def _cause(trace: Trace, each: loops.Loops) -> str:
    what = loops.what_ended_it(trace, each.numbers.signal)
    return (
        f"{loops.punishment(each.penalty)} {what} cut the sleep short, after a median of "
        f"{ms(each.numbers.slept_median_ns)} ms. The kernel then returns with detection still on, "
        f"and the same instruction traps again.{loops.assumed(each.penalty)}"
    )


def _remedies(trace: Trace, each: loops.Loops) -> list[Remedy]:
    return [
        remedies.longer_period(each.penalty, each.numbers.signal, "VMM"),
        *remedies.no_penalty(trace, each.penalty),
        remedies.align(guest=True),
        remedies.no_detection(),
    ]
