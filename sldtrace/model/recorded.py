"""The penalty of a recorded kernel: by its facts, and by what its traps show."""

import dataclasses

import numpy as np

from sldtrace.model import penalty as penalties
from sldtrace.model.jiffies import jiffies_to_msecs
from sldtrace.model.penalty import Penalty
from sldtrace.trace import Trace

_ENOUGH = 20  # sleeps of less than half a jiffy: of each it is even odds that no tick came meanwhile


def penalty(trace: Trace) -> Penalty:
    """As `penalty.of_facts` has it; but who was seen to sleep has the penalty, whatever the kernel's version.

    And how long the sleep is was seen where signals came soon after its begin: they leave all jiffies
    that were asked for, unless a tick has come. A distribution may have 4381b895f544 (one jiffy less) or not.
    """
    traps = trace.rows("trap")
    found = penalties.of_facts(trace.facts, slept=bool(traps["slept"].any()))
    usual = (
        traps["slept"] & (traps["sleep_requested_ms"] == penalties.SLEEP_MS) & (traps["sleep_left_ms"] > 0)
    )
    left = traps["sleep_left_ms"].to_numpy()[usual]
    short = traps["sleep_ns"].to_numpy()[usual] < found.tick_ns // 2
    for jiffies in penalties.sleep_jiffies(found.tick_ns):
        whole = jiffies_to_msecs(jiffies, found.tick_ns)
        if np.count_nonzero(short) >= _ENOUGH and left.max() == whole:
            return dataclasses.replace(found, sleep_jiffies=jiffies)
    return found
