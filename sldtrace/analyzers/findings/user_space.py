"""Finds programs that trap on one instruction of their own for ever because a signal ends each penalty early.

A program's own #AC comes to handle_user_split_lock, which calls the same split_lock_warn as a guest's
(arch/x86/kernel/cpu/bus_lock.c, b041b525dab9): a periodic SIGALRM and a split `xchg` are enough. The rule is
that of sldtrace.model.early_returns.
"""

from sldtrace.analyzers import loops, remedies
from sldtrace.analyzers.finding import Finding, Remedy
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset.trace import Trace
from sldtrace.model import early_returns as rule
from sldtrace.text.phrases import ms

KIND = rule.PROGRAM
TITLE = "loops of programs' own split locks"
NEEDS = Needs(("trap",), probes=("split_lock_warn",))


def find(trace: Trace) -> list[Finding[loops.LoopNumbers]]:
    """One finding for each thread and address with loops, the longest first."""
    return [
        loops.finding(trace, each, _cause(trace, each), _remedies(trace, each))
        for each in loops.of(trace)
        if each.kind == KIND
    ]


def _cause(trace: Trace, each: loops.Loops) -> str:
    what = loops.what_ended_it(trace, each.numbers.signal)
    return (
        f"{loops.punishment(each.penalty)} {what} cut the sleep short, after a median of "
        f"{ms(each.numbers.slept_median_ns)} ms. The kernel runs the program's signal handler, and then "
        "the program executes the same instruction, with detection still on: it traps again. No VM is "
        f"involved, the instruction is the program's own.{loops.assumed(each.penalty)}"
    )


def _remedies(trace: Trace, each: loops.Loops) -> list[Remedy]:
    return [
        remedies.align(guest=False),
        remedies.longer_period(each.penalty, each.numbers.signal, "program"),
        *remedies.no_penalty(trace, each.penalty),
        remedies.no_detection(),
    ]
