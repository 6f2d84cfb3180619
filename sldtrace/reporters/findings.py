"""A finding for people, of whatever analyzer it is: verdict, threads, facts, cause, evidence, remedies."""

from collections.abc import Iterator, Sequence
from typing import Any

from sldtrace.analyzers.finding import Finding, Remedy
from sldtrace.analyzers.needs import NotEvaluated
from sldtrace.dataset.trace import Trace
from sldtrace.reporters import excerpt, lanes, remedies, sentences, wording
from sldtrace.reporters.document import (
    Cell,
    Column,
    Fact,
    Facts,
    Section,
    Table,
    Text,
    Unit,
)
from sldtrace.reporters.groups import Group

_INTERVALS = 5
_NOUNS = {
    "trap": ("trap", "traps"),
    "exit": ("VM exit", "VM exits"),
    "stall": ("wait", "waits"),
    "detection": ("write of MSR_TEST_CTRL", "writes of MSR_TEST_CTRL"),
    "signal": ("signal", "signals"),
    "migrate": ("migration", "migrations"),
    "bus_lock": ("record of bus locks", "records of bus locks"),
    "user_exit": ("return to the VMM", "returns to the VMM"),
}


def section(trace: Trace, group: Group, others: Sequence[Group], listed: Sequence[Remedy]) -> Section:
    """All about the findings of one VM and cause; others: the groups, listed: the remedies of the report."""
    first = group.first
    facts = [Fact("when", sentences.when(trace, group)), *_facts(trace, first)]
    if found := sentences.see_also(group, others):
        facts.append(Fact("see also", ", ".join(each.text for each in found)))
    if numbers := remedies.references(group, listed):
        facts.append(Fact("change", numbers))
    parts = [Section(blocks=[Facts(tuple(facts))]), Section(blocks=[Text(first.cause)])]
    if len(group.subjects) > 1:
        name = group.worst.strip()
        parts.insert(0, Section(f"The {len(group.subjects):,} threads", [_threads(trace, group)]))
        parts[1] = Section(f"The one that lost most: {name}", parts[1].blocks)
    parts.append(Section(blocks=[lanes.build(trace, group)]))
    if len(first.evidence):
        count = wording.plural(len(first.evidence), *_NOUNS[first.evidence_kind])
        of = f" of {group.worst.strip()}" if group.worst else ""
        table = excerpt.table(trace, first.evidence, first.evidence_kind)
        parts.append(Section(f"Evidence: {count}{of}", [table]))
    return Section(sentences.title(group), [Text(f"({first.kind})")], parts, sentences.TONES[first.severity])


def _threads(trace: Trace, group: Group) -> Table:
    many = _NOUNS[group.first.evidence_kind][1]
    columns = (
        Column("vCPU", Unit.NUMBER),
        Column("TID", Unit.NUMBER),
        Column("from"),
        Column("to"),
        Column("lost", Unit.DURATION),
        Column(many, Unit.COUNT),
        Column("address", Unit.ADDRESS),
    )
    made = []
    for each in group.shown:
        who = each.subject
        if who is None:
            continue
        start, end = (wording.time_of_day(trace, ns) for ns in (each.start_ns, each.end_ns))
        row: tuple[Cell, ...] = (
            who.vcpu,
            who.tid,
            start,
            "end" if each.ongoing else end,
            each.numbers.lost_ns or None,
            len(each.evidence),
            each.rip,
        )
        made.append(row)
    made.sort(key=lambda row: (row[0] is None, row[:2]))
    return Table(columns, tuple(made), len(group.found) - len(made), len(made))


def _facts(trace: Trace, finding: Finding[Any]) -> Iterator[Fact]:
    for fact in finding.facts:
        yield Fact(fact.label, fact.text)
    for interval in finding.intervals[:_INTERVALS]:
        begin, until = (wording.time_of_day(trace, ns) for ns in (interval.start_ns, interval.end_ns))
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
