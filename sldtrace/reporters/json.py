"""The report for programs: the same findings and numbers as one JSON object."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sldtrace.analyzers import limitations
from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.needs import NotEvaluated
from sldtrace.dataset import levels
from sldtrace.dataset.trace import Trace
from sldtrace.reporters import excerpt
from sldtrace.reporters.accounts import account, others

LONGEST = 100
"""So many waits for punished vCPUs are listed, the longest ones."""


def render(
    trace: Trace,
    findings: list[Finding[Any]],
    threads: pd.DataFrame,
    not_evaluated: Sequence[NotEvaluated] = (),
) -> str:
    """One object, described in docs/report.md; times in ns.

    Only ASCII is written, so that no name in it can do anything to a terminal.
    """
    start, end = trace.span_ns
    recording = trace.recording
    content = {
        "simulated": trace.simulated,
        "recording": {
            "facts": trace.facts,
            "closing": recording.closing,
            "start_ns": start,
            "end_ns": end,
            "counts": recording.counts,
            "accounts": [
                vars(one) | {"missing": one.missing} for one in (account(trace, "trap"), *others(trace))
            ],
            "losses": [
                {"kind": loss.kind, "cause": loss.cause, "cpu": loss.cpu, "count": loss.count}
                for loss in recording.losses
            ],
            "discarded": discarded.to_json() if (discarded := recording.discarded) else None,
            "warnings": recording.warnings,
            "levels": [vars(stretch) for stretch in levels.stretches(trace)],
        },
        "findings": [_finding(trace, finding) for finding in findings],
        "not_evaluated": [vars(each) for each in not_evaluated],
        "limitations": limitations.of(trace),
        "threads": _records(threads),
        "exits": _records(trace.exit_counts),
        "user_exits": _records(trace.rows("user_exit").counted("tgid", "tid", "name")),
        "stalls": _records(trace.rows("stall").largest("waited_ns", LONGEST)),
        "migrations": _records(trace.rows("migrate").counted("tgid", "tid", "by_tgid", "by_tid")),
    }
    return json.dumps(content, indent=2)


def _records(rows: pd.DataFrame) -> Any:
    return json.loads(rows.to_json(orient="records"))


def _finding(trace: Trace, finding: Finding[Any]) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "severity": finding.severity.name.lower(),
        "verdict": finding.verdict,
        "subject": vars(finding.subject) if finding.subject else None,
        "headline": finding.headline,
        "rip": None if finding.rip is None else f"{finding.rip:#x}",
        "start_ns": finding.start_ns,
        "end_ns": finding.end_ns,
        "start_wall_ns": trace.wall_ns(finding.start_ns),
        "end_wall_ns": trace.wall_ns(finding.end_ns),
        "ongoing": finding.ongoing,
        "confidence": finding.confidence.name.lower(),
        "confidence_reason": finding.confidence_reason,
        "intervals": [vars(interval) for interval in finding.intervals],
        "facts": [vars(fact) for fact in finding.facts],
        "numbers": dataclasses.asdict(finding.numbers),
        "cause": finding.cause,
        "remedies": [vars(remedy) for remedy in finding.remedies],
        "evidence_kind": finding.evidence_kind,
        "evidence": _records(finding.evidence.excerpt(excerpt.FIRST, excerpt.LAST)),
    }
