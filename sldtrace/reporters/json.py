"""The report for programs: the same findings and numbers as one JSON object."""

import json
from typing import Any

import pandas as pd

from sldtrace.analyzers.finding import Finding
from sldtrace.reporters import excerpt
from sldtrace.trace import Trace


def render(trace: Trace, findings: list[Finding], threads: pd.DataFrame) -> str:
    """One object: `simulated`, `recording`, `findings`, `threads`; times in ns.

    recording: facts, closing, start_ns, end_ns, counts, losses, warnings, and released: what was let go on
    purpose, as docs/recording-format.md has it, or null.

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
            "losses": [
                {"kind": loss.kind, "cause": loss.cause, "cpu": loss.cpu, "count": loss.count}
                for loss in recording.losses
            ],
            "released": released.to_json() if (released := recording.released) else None,
            "warnings": recording.warnings,
        },
        "findings": [_finding(trace, finding) for finding in findings],
        "threads": json.loads(threads.to_json(orient="records")),
    }
    return json.dumps(content, indent=2)


def _finding(trace: Trace, finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "severity": finding.severity.name.lower(),
        "verdict": finding.verdict,
        "subject": vars(finding.subject),
        "rip": f"{finding.rip:#x}",
        "start_ns": finding.start_ns,
        "end_ns": finding.end_ns,
        "start_wall_ns": trace.wall_ns(finding.start_ns),
        "end_wall_ns": trace.wall_ns(finding.end_ns),
        "numbers": finding.numbers,
        "cause": finding.cause,
        "remedies": [vars(remedy) for remedy in finding.remedies],
        "evidence": json.loads(_raw(finding.evidence).to_json(orient="records")),
    }


# The same rows as in the report for people, but the numbers as recorded.
def _raw(evidence: pd.DataFrame) -> pd.DataFrame:
    return excerpt.chosen(evidence).drop(columns=["chain", "lasted_ns"], errors="ignore")
