"""What to read first in a report: the host, the time, and a verdict with a remedy for each VM and cause."""

from collections.abc import Sequence
from typing import Any

from sldtrace.analyzers.finding import Finding
from sldtrace.dataset.trace import Trace
from sldtrace.reporters import findings, wording
from sldtrace.reporters.document import Fact, Overview, Section, Step, Verdict
from sldtrace.text.escape import escape

_THREADS = 16  # that are named


def build(trace: Trace, found: Sequence[Finding[Any]], nothing: Section | None) -> Overview:
    """nothing: what the report says if there is no finding."""
    start, end = trace.span_ns
    host = trace.text("host", "name")
    facts = (
        Fact("host", escape(host) if host else "not known"),
        Fact(
            "simulated" if trace.simulated else "recorded",
            f"{wording.moment(trace, start)} to {wording.moment(trace, end)}, {wording.length(end - start)}",
        ),
        Fact("kernel", ", ".join(wording.host(trace))),
    )
    said = Fact("", nothing.title, tone=nothing.tone) if nothing else None
    title = f"Split locks on {escape(host) if host else 'a host without a name'}"
    return Overview(title, facts, tuple(_verdict(trace, each) for each in grouped(found)), said)


def grouped(found: Sequence[Finding[Any]]) -> list[list[Finding[Any]]]:
    """The findings of one kind and verdict about threads of one process together; the order stays."""
    groups: dict[object, list[Finding[Any]]] = {}
    for number, each in enumerate(found):
        who = each.subject
        key = (each.kind, each.verdict, who.tgid) if who else number
        groups.setdefault(key, []).append(each)
    return list(groups.values())


def _verdict(trace: Trace, group: Sequence[Finding[Any]]) -> Verdict:
    first = group[0]
    who = first.subject
    start = min(each.start_ns for each in group)
    end = max(each.end_ns for each in group)
    ongoing = any(each.ongoing for each in group)
    step = None
    if first.remedies:
        remedy = first.remedies[0]
        step = Step(remedy.what, remedy.cost, remedy.command)
    return Verdict(
        tone=findings.TONES[first.severity],
        verdict=first.verdict,
        who=wording.process(who) if who else "the host",
        threads=_threads(group) if who else "",
        headline=first.headline,
        since=wording.moment(trace, start),
        until="the end of the recording" if ongoing else wording.moment(trace, end, date=False),
        cause=first.cause,
        step=step,
        section=findings.title(first),
    )


def _threads(group: Sequence[Finding[Any]]) -> str:
    names = []
    for who in (each.subject for each in group):
        if who is not None:
            names.append(f"TID {who.tid}" if who.vcpu is None else f"vCPU {who.vcpu}")
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - _THREADS:,} more" if len(names) > _THREADS else ""
    return ", ".join(names[:_THREADS]) + more
