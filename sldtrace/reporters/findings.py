"""A finding for people, of whatever analyzer it is: verdict, facts, cause, evidence, remedies."""

from collections.abc import Iterator, Sequence
from typing import Any

from sldtrace.analyzers.finding import Finding, Severity
from sldtrace.analyzers.needs import NotEvaluated
from sldtrace.dataset.trace import Trace
from sldtrace.reporters import excerpt, wording
from sldtrace.reporters.document import Fact, Facts, Section, Step, Steps, Text, Tone

TONES = {
    Severity.CRITICAL: Tone.CRITICAL,
    Severity.WARNING: Tone.WARNING,
    Severity.NOTICE: Tone.NOTICE,
}

_INTERVALS = 5
_NOUNS = {
    "trap": ("trap", "traps"),
    "exit": ("VM exit", "VM exits"),
    "stall": ("wait", "waits"),
    "detection": ("write of MSR_TEST_CTRL", "writes of MSR_TEST_CTRL"),
    "signal": ("signal", "signals"),
    "migrate": ("migration", "migrations"),
    "user_exit": ("return to the VMM", "returns to the VMM"),
}


def section(trace: Trace, finding: Finding[Any]) -> Section:
    """All about one finding."""
    parts = [Section(blocks=[Facts(tuple(_facts(trace, finding)))]), Section(blocks=[Text(finding.cause)])]
    if len(finding.evidence):
        count = wording.plural(len(finding.evidence), *_NOUNS[finding.evidence_kind])
        table = excerpt.table(trace, finding.evidence, finding.evidence_kind)
        parts.append(Section(f"Evidence: {count}", [table]))
    steps = tuple(Step(remedy.what, remedy.cost, remedy.command) for remedy in finding.remedies)
    parts.append(Section("What to change, and what it costs", [Steps(steps)]))
    return Section(title(finding), [Text(f"({finding.kind})")], parts, TONES[finding.severity])


def title(finding: Finding[Any]) -> str:
    """The title of its section."""
    who = finding.subject
    if who is None:
        name = ""
    elif who.vcpu is None:
        name = f"a thread of {wording.thread(who)} "
    else:
        name = f"vCPU {who.vcpu} of {wording.thread(who)} "
    return f"{finding.verdict.upper()}: {name}{finding.headline}"


def _facts(trace: Trace, finding: Finding[Any]) -> Iterator[Fact]:
    end = "the end of the recording" if finding.ongoing else wording.moment(trace, finding.end_ns, date=False)
    lasted = wording.length(finding.end_ns - finding.start_ns)
    yield Fact("when", f"{wording.moment(trace, finding.start_ns)} to {end}: {lasted}")
    for fact in finding.facts:
        yield Fact(fact.label, fact.text)
    for interval in finding.intervals[:_INTERVALS]:
        begin, until = (
            wording.moment(trace, ns, date=False).removesuffix(" UTC")
            for ns in (interval.start_ns, interval.end_ns)
        )
        lasted = wording.length(interval.end_ns - interval.start_ns)
        yield Fact("phase", f"{begin} to {until}, {lasted}: {interval.verdict}")
    if len(finding.intervals) > _INTERVALS:
        yield Fact("", f"and {wording.plural(len(finding.intervals) - _INTERVALS, 'phase')} more")
    yield Fact(finding.confidence.name.lower(), finding.confidence_reason)


def not_evaluated(listed: Sequence[NotEvaluated]) -> Iterator[Section]:
    """The kinds of finding that the recording cannot show, by reason; nothing where there are none."""
    reasons: dict[str, list[str]] = {}
    for each in listed:
        reasons.setdefault(each.reason, []).append(f"{each.title} ({each.kind})")
    if reasons:
        texts = [Text(f"{', '.join(titles)}: {reason}") for reason, titles in reasons.items()]
        yield Section("Not evaluated", texts)
