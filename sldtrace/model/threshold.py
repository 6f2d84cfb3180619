"""When signals let a penalty complete: how far into the sleep they come, and the shortest such period."""

from sldtrace.model.penalty import Penalty
from sldtrace.model.sources import Kind, Source
from sldtrace.model.thread import Costs

SIGMAS = 3
"""Standard deviations of jitter by which a signal may come early."""


def reach_ns(source: Source, costs: Costs) -> int:
    """How long after the start of the sleep the signal wakes the thread up."""
    return source.period_ns - _lead(source, costs)


def slack_ns(source: Source) -> int:
    """By how much `reach_ns` varies."""
    return SIGMAS * source.jitter_ns


def least_period_ns(penalty: Penalty, source: Source, costs: Costs) -> int:
    """The shortest period of this source with which every penalty completes on this kernel."""
    return penalty.always_completes_above_ns + slack_ns(source) + _lead(source, costs)


# The part of a period outside the sleep.
def _lead(source: Source, costs: Costs) -> int:
    lead = costs.entry_ns + costs.trap_ns - costs.wake_ns
    return lead + costs.wake_ns + costs.outside_ns if source.kind is Kind.PERIODIC else lead
