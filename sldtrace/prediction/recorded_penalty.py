"""The penalty of a recorded kernel: by its facts, and by what its traps show."""

import dataclasses

from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.trace import Trace
from sldtrace.model import penalty as penalties
from sldtrace.model.penalty import Penalty
from sldtrace.model.sleeps import Sleeps


@per_trace
def penalty(trace: Trace) -> Penalty:
    """The penalty by the host's facts, `penalty.from_facts`, corrected by the traps.

    If a thread slept, the kernel has the penalty, whatever its version says. Signals soon after the begin of
    a sleep show its length: see `sleeps.Sleeps`.
    """
    traps = trace.rows("trap")
    found = penalties.from_facts(trace.facts, slept=bool(traps["slept"].any()))
    names = ("slept", "sleep_requested_ms", "sleep_left_ms", "sleep_ns")
    sleeps = Sleeps(found.tick_ns)
    sleeps.add(*(traps[name].to_numpy() for name in names))
    seen = sleeps.jiffies
    return found if seen is None else dataclasses.replace(found, sleep_jiffies=seen)
