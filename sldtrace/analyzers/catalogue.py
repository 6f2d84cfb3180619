"""The analyzers that there are, and how they are run."""

from types import ModuleType

from sldtrace.analyzers import early_return_loop
from sldtrace.analyzers.finding import Finding
from sldtrace.trace import Trace

ANALYZERS: tuple[ModuleType, ...] = (early_return_loop,)


def run(trace: Trace) -> list[Finding]:
    """The findings of all analyzers, the worst first."""
    found: list[Finding] = []
    for analyzer in ANALYZERS:
        found += analyzer.find(trace)
    return sorted(found, key=lambda finding: finding.severity, reverse=True)
