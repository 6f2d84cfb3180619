"""Predictions of the model, for a person and as JSON."""

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from sldtrace.dataset.trace import Trace
from sldtrace.host import signals
from sldtrace.model.sources import Kind
from sldtrace.prediction import predict, recorded_penalty
from sldtrace.prediction.predict import Prediction, WhatIf
from sldtrace.prediction.thread_profile import Profile
from sldtrace.reporters import tables, wording

Answers = Sequence[tuple[WhatIf, list[Prediction]]]

_ASSUMED = (
    "Predicted by the model of the penalty (docs/model.md) for threads that do nothing but what they did "
    "when they were recorded, on CPUs that are free. A timer's time is that from KVM_RUN to its signal."
)


def render(trace: Trace, answers: Answers, width: int) -> str:
    """One section for each change; a table of threads in it, with the reasons below."""
    parts = [wording.SIMULATED] if trace.simulated else []
    for change, predictions in answers:
        parts.append(f"WHAT IF {change.text}")
        if not predictions:
            parts.append(_fill("Nobody took a split-lock trap in this recording.", width))
            continue
        parts.append(textwrap.indent(tables.table(_rows(trace, predictions), numbers=True), "  "))
        parts.append(_reasons(trace, predictions, width))
        if change.fixed_kernel:
            parts.append(_fill(predict.DEAF, width))
    notes = [_fill(line, width) for line in [*wording.host(trace), _ASSUMED]]
    if not recorded_penalty.penalty(trace).known:
        notes.append(_fill("The kernel's version is not known: the slowest is assumed.", width))
    return "\n\n".join([*parts, "\n".join(notes)]) + "\n"


def _rows(trace: Trace, predictions: list[Prediction]) -> list[dict[str, Any]]:
    rows = []
    for number, each in enumerate(predictions, 1):
        profile = each.profile
        who = trace.subject(profile.tgid, profile.tid, profile.vcpu)
        rows.append(
            {
                "thread": f"{number} {wording.thread(who)}",
                "signal": _signal(profile),
                "progress": each.progress,
                "traps/s": f"{each.traps_per_s:,.1f}",
                "recorded": f"{profile.traps / (profile.span_ns / 1e9):,.1f}" if profile.span_ns else "-",
                "completed/s": f"{each.detection_off_per_s:,.1f}",
                "punished": wording.percent(each.punished, 1),
            }
        )
    return rows


def _signal(profile: Profile) -> str:
    source = profile.source
    if source.kind is Kind.NONE:
        return "none seen"
    name = signals.name(source.signo) if source.signo else "not seen"
    return f"{name} {source.kind.value} {wording.length(source.period_ns)}"


# Each reason once, with the threads that it holds for.
def _reasons(trace: Trace, predictions: list[Prediction], width: int) -> str:
    who: dict[tuple[str, str], list[int]] = {}
    for number, each in enumerate(predictions, 1):
        who.setdefault((each.progress, each.why), []).append(number)
    lines = []
    for (progress, why), numbers in who.items():
        some = ", ".join(str(number) for number in numbers[:8]) + (", ..." if len(numbers) > 8 else "")
        lines.append(_fill(f"{some}: {progress}: {why}", width))
    return "\n".join(lines)


def as_json(trace: Trace, answers: Answers) -> str:
    """One object: `simulated`, `kernel` and `what_if`, a list of changes with their predictions."""
    penalty = recorded_penalty.penalty(trace)
    content = {
        "simulated": trace.simulated,
        "kernel": {
            "generation": penalty.generation.name,
            "known": penalty.known,
            "always_early_below_ns": penalty.always_early_below_ns,
            "always_completes_above_ns": penalty.always_completes_above_ns,
            "sleep_shortest_ns": penalty.shortest_sleep_ns,
            "sleep_longest_ns": penalty.longest_sleep_ns,
        },
        "what_if": [
            {
                "change": change.text,
                "assumed": predict.DEAF if change.fixed_kernel else None,
                "threads": [_prediction(trace, each) for each in predictions],
            }
            for change, predictions in answers
        ],
    }
    return json.dumps(content, indent=2)


def _prediction(trace: Trace, each: Prediction) -> dict[str, Any]:
    profile, source = each.profile, each.profile.source
    return {
        "subject": vars(trace.subject(profile.tgid, profile.tid, profile.vcpu)),
        "recorded": {
            "traps": profile.traps,
            "early_returns": profile.early,
            "detection_off": profile.detection_off,
            "span_ns": profile.span_ns,
            "punished": round(profile.punished, 4),
            "signal": source.signo or None,
            "source": source.kind.value,
            "period_ns": source.period_ns or None,
            "jitter_ns": source.jitter_ns,
            "signals_used": profile.seen,
        },
        "progress": each.progress,
        "why": each.why,
        "traps_per_s": round(each.traps_per_s, 3),
        "detection_off_per_s": round(each.detection_off_per_s, 3),
        "punished": round(each.punished, 4),
    }


def _fill(text: str, width: int) -> str:
    return textwrap.fill(text, width, initial_indent="  ", subsequent_indent="  ")
