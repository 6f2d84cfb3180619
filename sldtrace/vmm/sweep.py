"""The same guest with one timeout after another, under each setting of the penalty that was asked for."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType

from sldtrace.host import split_lock
from sldtrace.vmm import mitigate, signals
from sldtrace.vmm.children import Children
from sldtrace.vmm.plan import Plan
from sldtrace.vmm.swept import Point


def run(
    plan: Plan, timeouts_ns: Sequence[int], mitigates: Sequence[int | None], tell: Callable[[Point], None]
) -> bool:
    """Runs `plan` with each timeout, under each value of the sysctl (None: as it is); tells each point.

    The sysctl is put back at the end, whatever that is. False: one of these came, and
    points are missing. Raises SldtraceError if a run fails or the sysctl cannot be set.
    """
    interrupted = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True

    with signals.handled(interrupt, *signals.ENDING):
        for value in mitigates:
            with mitigate.held(value):
                for timeout_ns in timeouts_ns:
                    if interrupted:
                        return False
                    (result,) = Children([replace(plan, timeout_ns=timeout_ns)]).run(lambda *_: None)
                    if result.interrupted:
                        return False
                    tell(
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
