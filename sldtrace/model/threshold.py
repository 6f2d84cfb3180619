"""Which signals let a thread through: how far into the sleep they come, and the shortest period that does."""

from sldtrace.model.penalty import Penalty
from sldtrace.model.sources import Kind, Source
from sldtrace.model.thread import Costs

SIGMAS = 3
"""So many standard deviations of its jitter a signal may come too early."""


def reach_ns(source: Source, costs: Costs) -> int:
    """How long after the begin of the sleep the signal wakes the thread up."""
    return source.period_ns - _lead(source, costs)


def slack_ns(source: Source) -> int:
    """By how much that varies."""
    return SIGMAS * source.jitter_ns


def least_period_ns(penalty: Penalty, source: Source, costs: Costs) -> int:
    """The shortest period of this source with which every sleep is slept to the end on this kernel."""
    return penalty.always_completes_above_ns + slack_ns(source) + _lead(source, costs)


# What of a period passes outside of the sleep.
def _lead(source: Source, costs: Costs) -> int:
    lead = costs.entry_ns + costs.trap_ns - costs.wake_ns
    return lead + costs.wake_ns + costs.outside_ns if source.kind is Kind.PERIODIC else lead
