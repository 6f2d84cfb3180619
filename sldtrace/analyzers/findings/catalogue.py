"""The analyzers, how they are run, and which of them cannot be evaluated on a recording."""

import logging
from typing import Any

from sldtrace import diagnostics
from sldtrace.analyzers import needs
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Finding, Numbers
from sldtrace.analyzers.findings import (
    bus_lock,
    detection_left_off,
    early_return_loops,
    fatal,
    guest_ac,
    lock_hold,
    migration_defeat,
    penalty_slowdown,
    semaphore_queue,
    toggle_storm,
)
from sldtrace.analyzers.needs import NotEvaluated
from sldtrace.dataset.trace import Trace

_log = logging.getLogger(__name__)

ANALYZERS: tuple[Analyzer[Numbers], ...] = (
    *early_return_loops.ANALYZERS,
    fatal.ANALYZER,
    migration_defeat.ANALYZER,
    semaphore_queue.ANALYZER,
    lock_hold.ANALYZER,
    detection_left_off.ANALYZER,
    toggle_storm.ANALYZER,
    penalty_slowdown.ANALYZER,
    bus_lock.ANALYZER,
    guest_ac.ANALYZER,
)
"""Findings of one severity come in this order: a cause before the slowdown that it leads to."""


def run(trace: Trace) -> list[Finding[Any]]:
    """The findings of all analyzers whose needs are met, the worst first."""
    found: list[Finding[Any]] = []
    for analyzer in ANALYZERS:
        if needs.missing(trace, analyzer.needs) is None:
            with diagnostics.phase(_log, f"analyzer {analyzer.kind}"):
                found += analyzer.find(trace)
    return sorted(found, key=lambda finding: finding.severity, reverse=True)


def not_evaluated(trace: Trace) -> list[NotEvaluated]:
    """The kinds of finding of which this recording cannot say whether there are any."""
    reasons = [(analyzer, needs.missing(trace, analyzer.needs)) for analyzer in ANALYZERS]
    return [NotEvaluated(analyzer.kind, analyzer.title, why) for analyzer, why in reasons if why is not None]
