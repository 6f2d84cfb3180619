"""The analyzers that there are, how they are run, and which of them a recording leaves without an answer.

Each is a module with KIND and TITLE (what it looks for, in the plural), NEEDS (what a recording must have,
see needs.Needs), and find(trace), which gives its findings.
"""

import logging
from types import ModuleType
from typing import Any

from sldtrace import diagnostics
from sldtrace.analyzers import needs
from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.findings import (
    bus_lock,
    detection_left_off,
    early_return_loop,
    fatal,
    guest_ac,
    lock_hold,
    migration_defeat,
    penalty_slowdown,
    semaphore_early_return,
    semaphore_queue,
    toggle_storm,
    user_space,
)
from sldtrace.analyzers.needs import NotEvaluated
from sldtrace.dataset.trace import Trace

_log = logging.getLogger(__name__)

ANALYZERS: tuple[ModuleType, ...] = (
    early_return_loop,
    semaphore_early_return,
    user_space,
    fatal,
    migration_defeat,
    semaphore_queue,
    lock_hold,
    detection_left_off,
    toggle_storm,
    penalty_slowdown,
    bus_lock,
    guest_ac,
)
"""Of equally severe findings the first here comes first: that a thread is slowed comes behind why."""


def run(trace: Trace) -> list[Finding[Any]]:
    """The findings of all analyzers whose needs are met, the worst first."""
    found: list[Finding[Any]] = []
    for analyzer in ANALYZERS:
        if needs.missing(trace, analyzer.NEEDS) is None:
            with diagnostics.phase(_log, f"analyzer {analyzer.KIND}"):
                found += analyzer.find(trace)
    return sorted(found, key=lambda finding: finding.severity, reverse=True)


def not_evaluated(trace: Trace) -> list[NotEvaluated]:
    """The kinds of finding of which this recording cannot say whether there are any."""
    reasons = [(analyzer, needs.missing(trace, analyzer.NEEDS)) for analyzer in ANALYZERS]
    return [NotEvaluated(analyzer.KIND, analyzer.TITLE, why) for analyzer, why in reasons if why is not None]
