"""Runs a guest with one timeout after another, under each requested setting of the penalty."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType

from sldtrace.host import split_lock
from sldtrace.vmm import mitigate, signals
from sldtrace.vmm.children import Children
from sldtrace.vmm.plan import Plan
from sldtrace.vmm.swept import Point


def run(
    plan: Plan, timeouts_ns: Sequence[int], mitigates: Sequence[int | None], report: Callable[[Point], None]
) -> bool:
    """Runs `plan` with each timeout, under each value of the sysctl (None: unchanged); reports each point.

    Restores the sysctl in any case. Returns False if a signal of signals.ENDING ended it early, so that
    points are missing. Raises SldtraceError if a run fails or the sysctl cannot be set.
    """
    interrupted = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True

    with signals.handled(interrupt, *signals.ENDING):
        for value in mitigates:
            with mitigate.set_for_block(value):
                for timeout_ns in timeouts_ns:
                    if interrupted:
                        return False
                    (result,) = Children([replace(plan, timeout_ns=timeout_ns)]).run(lambda *_: None)
                    if result.interrupted:
                        return False
                    report(
                        Point(
                            split_lock.read().mitigate,
                            timeout_ns,
                            sum(one.loops for one in result.vcpus),
                            sum(one.kvm_runs for one in result.vcpus),
                            sum(one.eintr for one in result.vcpus),
                            result.ran_ns,
                        )
                    )
    return True
