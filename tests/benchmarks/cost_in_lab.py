"""A part of scenario.py: what sldtrace costs guests, for the tests to judge; see inside.measure."""

from benchmarks.observers.inside import measure
from benchmarks.observers.plan import Plan
from benchmarks.observers.table import GUESTS, OBSERVERS

PLAN = Plan(GUESTS, [one for one in OBSERVERS if one.ours])


def run(_folder):  # type: ignore[no-untyped-def]  # as all parts, which run in the machine
    """The part of the benchmark that is sldtrace's, in one boot."""
    return measure(PLAN)
