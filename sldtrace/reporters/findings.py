"""A finding for people: verdict, facts, cause, evidence, remedies; of whatever analyzer it is."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from sldtrace.analyzers.finding import Finding, Severity
from sldtrace.analyzers.needs import NotEvaluated
from sldtrace.dataset.trace import Trace
from sldtrace.reporters import excerpt, tables, wording
from sldtrace.reporters.style import Style

COLOURS = {Severity.CRITICAL: "31;1", Severity.WARNING: "33;1", Severity.NOTICE: "36;1"}

_INTERVALS = 5
_NOUNS = {
    "trap": ("trap", "traps"),
    "exit": ("VM exit", "VM exits"),
    "stall": ("wait", "waits"),
    "detection": ("write of MSR_TEST_CTRL", "writes of MSR_TEST_CTRL"),
}


def render(trace: Trace, finding: Finding[Any], style: Style) -> str:
    """The finding, in paragraphs."""
    return "\n".join(_lines(trace, finding, style))


def _lines(trace: Trace, finding: Finding[Any], style: Style) -> Iterator[str]:
    yield from _headline(finding, style)
    yield ""
    for name, text in _facts(trace, finding):
        yield textwrap.fill(text, style.width, initial_indent=f"  {name:<10}", subsequent_indent=" " * 12)
    yield ""
    yield wording.fill(finding.cause, style)
    if len(finding.evidence):
        yield ""
        yield f"  Evidence: {wording.plural(len(finding.evidence), *_NOUNS[finding.evidence_kind])}"
        rows = excerpt.rows(trace, finding.evidence, finding.evidence_kind)
        yield textwrap.indent(tables.table(rows.to_dict("records")), " " * 4)
    yield ""
    yield "  What to change, and what it costs"
    for number, remedy in enumerate(finding.remedies, 1):
        lead = f"    {number}. "
        yield textwrap.fill(remedy.what, style.width, initial_indent=lead, subsequent_indent=" " * 7)
        if remedy.command:
            yield f"         {remedy.command}"
        cost = f"cost: {remedy.cost}"
        yield textwrap.fill(cost, style.width, initial_indent=" " * 7, subsequent_indent=" " * 7)


def _headline(finding: Finding[Any], style: Style) -> Iterator[str]:
    who = finding.subject
    if who is None:
        name = ""
    elif who.vcpu is None:
        name = f"a thread of {wording.thread(who)} "
    else:
        name = f"vCPU {who.vcpu} of {wording.thread(who)} "
    first, *rest = textwrap.wrap(f"{finding.verdict.upper()}: {name}{finding.headline}", style.width)
    yield style.loud(first, COLOURS[finding.severity])
    yield from rest
    yield f"  ({finding.kind})"


def _facts(trace: Trace, finding: Finding[Any]) -> Iterator[tuple[str, str]]:
    end = "the end of the recording" if finding.ongoing else wording.moment(trace, finding.end_ns, date=False)
    lasted = wording.length(finding.end_ns - finding.start_ns)
    yield "when", f"{wording.moment(trace, finding.start_ns)} to {end}: {lasted}"
    for fact in finding.facts:
        yield fact.label, fact.text
    for interval in finding.intervals[:_INTERVALS]:
        begin, until = (
            wording.moment(trace, ns, date=False).removesuffix(" UTC")
            for ns in (interval.start_ns, interval.end_ns)
        )
        text = (
            f"{begin} to {until}, {wording.length(interval.end_ns - interval.start_ns)}: {interval.verdict}"
        )
        yield "phase", text
    if len(finding.intervals) > _INTERVALS:
        yield "", f"and {wording.plural(len(finding.intervals) - _INTERVALS, 'phase')} more"
    yield finding.confidence.name.lower(), finding.confidence_reason


def not_evaluated(listed: Sequence[NotEvaluated], style: Style) -> str:
    """What could not be judged, by reason; empty where everything could."""
    reasons: dict[str, list[str]] = {}
    for each in listed:
        reasons.setdefault(each.reason, []).append(f"{each.title} ({each.kind})")
    texts = [
        f"Could not be judged, because {because}: {', '.join(titles)}" for because, titles in reasons.items()
    ]
    return "\n".join(textwrap.fill(text, style.width, subsequent_indent="  ") for text in texts)
