"""The report of a recording: everything that it says, built once, for all formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sldtrace.analyzers import addresses, limitations
from sldtrace.analyzers import threads as thread_table
from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.needs import NotEvaluated
from sldtrace.dataset import exit_counts, frames, levels, tallies
from sldtrace.dataset.accounts import account, others
from sldtrace.dataset.trace import Trace
from sldtrace.lazy import pd
from sldtrace.recording.discarded import Discarded
from sldtrace.recording.schema import NO_CPU
from sldtrace.reporters import (
    content,
    context,
    excerpt,
    exits,
    findings,
    groups,
    overview,
    pictures,
    recorded,
    remedies,
)
from sldtrace.reporters.content import FindingContent, RecordingContent, ReportContent
from sldtrace.reporters.document import Cell, Column, Report, Section, Table, Text, Unit
from sldtrace.reporters.groups import Group
from sldtrace.reporters.rows import of_values, rows
from sldtrace.text.escape import escape
from sldtrace.text.phrases import address

LONGEST = 100
"""How many waits are listed: the longest ones."""

MOST_FINDINGS = 1_000
"""Findings that programs get, the worst ones."""

MOST_THREADS = 200
"""Threads in the table of those that trapped, those with the most traps."""


def build(
    trace: Trace,
    found: Sequence[Finding[Any]],
    threads: pd.DataFrame,
    not_evaluated: Sequence[NotEvaluated] = (),
    *,
    with_pictures: bool = False,
) -> Report:
    """The report; `threads` as analyzers.threads.summarize gives it, the others as the catalogue does.

    with_pictures: also pictures, for which the recording is read once more.
    """
    return Report(
        _content(trace, found, threads, not_evaluated),
        list(_sections(trace, found, threads, not_evaluated, with_pictures)),
    )


def _sections(
    trace: Trace,
    found: Sequence[Finding[Any]],
    threads: pd.DataFrame,
    not_evaluated: Sequence[NotEvaluated],
    with_pictures: bool,
) -> Iterator[Section]:
    every = groups.grouped(found)
    listed = every[: overview.MOST]
    changes = remedies.listed(listed)
    yield from overview.sections(trace, every)
    yield from remedies.section(changes)
    if with_pictures:
        yield from pictures.sections(trace, found, threads)
    for group in listed:
        yield findings.section(trace, group, listed, changes)
    if texts := limitations.sentences(trace):
        yield Section("Limitations", [Text(each) for each in texts])
    yield from findings.not_evaluated(not_evaluated)
    if len(threads):
        yield Section("Threads that trapped", [_threads(trace, threads)])
    yield from exits.sections(trace, threads)
    yield from context.sections(trace, threads)
    yield recorded.section(trace)


def _threads(trace: Trace, threads: pd.DataFrame) -> Table:
    name = "VM or process" if threads["vm"].astype(bool).any() else "process"
    columns = (
        Column(name),
        Column("PID", Unit.NUMBER),
        Column("TID", Unit.NUMBER),
        Column("vCPU", Unit.NUMBER),
        Column("traps", Unit.COUNT),
        Column("early\nreturns", Unit.COUNT),
        Column("completed", Unit.COUNT),
        Column("not\npenalized", Unit.COUNT),
        Column("slept", Unit.DURATION),
    )
    lines: list[tuple[Cell, ...]] = []
    for row in threads.head(MOST_THREADS).to_dict("records"):
        who = trace.subject(row["tgid"], row["tid"], None)
        vcpu = None if pd.isna(row["vcpu"]) else int(row["vcpu"])
        counts = (row[each] for each in ("traps", "early_returns", "completed", "not_penalized", "slept_ns"))
        shown = escape(f"VM {who.vm}" if who.vm else who.process)
        lines.append((shown, who.tgid, who.tid, vcpu, *(int(each) for each in counts)))
    return Table(columns, tuple(lines), len(threads) - len(lines), len(lines))


def _content(
    trace: Trace, found: Sequence[Finding[Any]], threads: pd.DataFrame, not_evaluated: Sequence[NotEvaluated]
) -> ReportContent:
    moves = tallies.value_counts(trace, "migrate", "tgid", "tid", "by_tgid", "by_tid")
    stalls = tallies.largest(trace, "stall", context.waited_ns, LONGEST)
    listed = found[:MOST_FINDINGS]
    return ReportContent(
        version=content.VERSION,
        simulated=trace.simulated,
        recording=_recording(trace),
        summary=_verdicts(listed),
        findings=[_finding(trace, each) for each in listed],
        findings_omitted=len(found) - len(listed),
        not_evaluated=not_evaluated,
        limitations=limitations.sentences(trace),
        threads=rows(threads, thread_table.COLUMNS),
        exits=rows(trace.exit_counts, exit_counts.COLUMNS),
        user_exits=rows(tallies.user_exits(trace), content.USER_EXITS),
        stalls=rows(stalls, frames.described("stall")),
        migrations=rows(moves, content.MIGRATIONS),
    )


def _recording(trace: Trace) -> RecordingContent:
    recording = trace.recording
    start, end = trace.span_ns
    accounts = [account(trace, "trap"), *others(trace)]
    return RecordingContent(
        files=[
            content.FileContent(escape(each.name), each.start_ns, each.end_ns, each.traps)
            for each in recording.parts
        ],
        gaps=[content.GapContent(gap.start_ns, gap.end_ns, gap.missing) for gap in recording.gaps],
        facts=trace.facts,
        closing=recording.closing,
        start_ns=start,
        end_ns=end,
        counts=recording.counts,
        accounts=[content.AccountContent(**vars(each), missing=each.missing) for each in accounts],
        losses=[
            content.LossContent(loss.kind, loss.cause, None if loss.cpu == NO_CPU else loss.cpu, loss.count)
            for loss in recording.losses
        ],
        discarded=_discarded(recording.discarded),
        warnings=recording.warnings,
        levels=levels.stretches(trace),
    )


def _discarded(discarded: Discarded | None) -> content.DiscardedContent | None:
    if discarded is None:
        return None
    return content.DiscardedContent(
        discarded.records, discarded.first_ns, discarded.last_ns, discarded.limit_ns, discarded.limit_bytes
    )


def _verdicts(found: Sequence[Finding[Any]]) -> list[content.VerdictContent]:
    positions = {id(each): number for number, each in enumerate(found)}
    every = groups.grouped(found)
    numbers = {id(each): number for number, each in enumerate(every)}
    return [
        _verdict(positions, each, [numbers[id(other)] for other in groups.related(each, every)])
        for each in every
    ]


# positions: of the findings, by id; related: numbers of groups.
def _verdict(positions: Mapping[int, int], group: Group, related: Sequence[int]) -> content.VerdictContent:
    first, who = group.first, group.who
    return content.VerdictContent(
        verdict=first.verdict,
        severity=first.severity,
        kind=first.kind,
        vm=who.vm if who else "",
        tgid=who.tgid if who else None,
        tids=[each.tid for each in group.subjects],
        headline=first.headline,
        start_ns=group.start_ns,
        end_ns=group.end_ns,
        ongoing=group.ongoing,
        remedy=first.remedies[0] if first.remedies else None,
        findings=[positions[id(each)] for each in group.found],
        related=related,
    )


def _finding(trace: Trace, finding: Finding[Any]) -> FindingContent:
    columns = frames.described(finding.evidence_kind)
    return FindingContent(
        kind=finding.kind,
        severity=finding.severity,
        verdict=finding.verdict,
        subject=finding.subject,
        headline=finding.headline,
        rip=None if finding.rip is None else address(finding.rip),
        symbol=addresses.symbol(trace, finding.rip, addresses.is_guests(finding)),
        start_ns=finding.start_ns,
        end_ns=finding.end_ns,
        start_wall_ns=trace.wall_ns(finding.start_ns),
        end_wall_ns=trace.wall_ns(finding.end_ns),
        ongoing=finding.ongoing,
        confidence=finding.confidence,
        confidence_reason=finding.confidence_reason,
        intervals=finding.intervals,
        facts=finding.facts,
        numbers=finding.numbers,
        cause=finding.cause,
        remedies=finding.remedies,
        evidence_kind=finding.evidence_kind,
        evidence_count=len(finding.evidence),
        evidence=of_values(finding.evidence.head_tail(excerpt.FIRST, excerpt.LAST).plain(), columns),
    )
