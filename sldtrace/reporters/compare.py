"""The report of `sldtrace compare`: the verdict, what changed on the host, and each vCPU before and after."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from sldtrace.comparison import bootstrap
from sldtrace.comparison.bootstrap import Interval
from sldtrace.comparison.compare import (
    LEAST_CHANGE,
    LEAST_PROGRESS,
    WIDEST,
    Comparison,
    Outcome,
    Row,
    Setting,
    Side,
)
from sldtrace.comparison.measure import Measured
from sldtrace.dataset.subject import Subject
from sldtrace.dataset.trace import Trace
from sldtrace.reporters import wording
from sldtrace.reporters.document import Block, Column, Fact, Facts, Report, Section, Table, Text, Tone
from sldtrace.text.escape import escape
from sldtrace.text.phrases import address, percent, rate, significant

VERSION = 1
"""Of the JSON; grows when a key changes its meaning or goes away."""

_TONES = {
    Outcome.WORSE: Tone.CRITICAL,
    Outcome.NOT_COMPARABLE: Tone.UNKNOWN,
    Outcome.CANNOT_TELL: Tone.UNKNOWN,
    Outcome.SAME: Tone.NOTICE,
    Outcome.BETTER: Tone.GOOD,
    Outcome.FIXED: Tone.GOOD,
}


@dataclass(frozen=True)
class RecordingContent:
    """One of the two recordings."""

    host: Annotated[str, "empty: not known"]
    simulated: bool
    start_ns: Annotated[int, "CLOCK_MONOTONIC"]
    end_ns: Annotated[int, "CLOCK_MONOTONIC"]
    start_wall_ns: Annotated[int | None, "since 1970, UTC; null: not known"]
    traps: int
    blocks: Annotated[int, "that the confidence intervals are made of"]
    block_ns: int


@dataclass(frozen=True)
class RowContent:
    """One vCPU and address."""

    subject: Subject
    rip: Annotated[str | None, "hexadecimal; null: other addresses in each recording, taken together"]
    outcome: Outcome
    why: str
    before: Annotated[Side | None, "null: no trap of this thread"]
    after: Annotated[Side | None, "null: no trap of this thread"]
    change: Annotated[Interval | None, "of `penalty_share`; null: not comparable"]
    progress_change: Annotated[Interval | None, "of `progress_per_s`; null: not comparable"]


@dataclass(frozen=True)
class CompareContent:
    """The whole object."""

    version: Annotated[int, "1; grows when a key changes its meaning or goes away"]
    outcome: Outcome
    why: str
    before: RecordingContent
    after: RecordingContent
    settings: Annotated[Sequence[Setting], "facts of the hosts that are not the same"]
    rows: Annotated[Sequence[RowContent], "the worst outcome first"]
    method: str


METHOD = (
    "The outcome follows the findings only if a measured change agrees: the interval of the change of the "
    "time in penalties excludes 0, or that of the progress does (better: less time, or more progress). "
    "Otherwise it is CANNOT TELL. Where the findings are as severe as before, the time in penalties decides "
    f"if its interval excludes 0 and the change is at least {LEAST_CHANGE * 100:g} percentage points, and "
    f"next the progress, if its interval excludes 0 and the change is at least {percent(LEAST_PROGRESS, 1)}. "
    f"What remains is SAME, or CANNOT TELL if the change may be above {WIDEST * 100:g} percentage points. "
    f"Confidence intervals ({percent(bootstrap.LEVEL, 1)}) are made by the block bootstrap: each recording "
    f"is cut into blocks of time, and {bootstrap.RESAMPLES:,} samples of whole blocks are drawn with "
    "replacement, because the traps of a loop depend on each other. vCPUs are matched by VM and vCPU, and by "
    "address where it is the same."
)


def build(found: Comparison, before: Measured, after: Measured) -> Report:
    """The report."""
    content = CompareContent(
        VERSION,
        found.outcome,
        found.why,
        _recording(before),
        _recording(after),
        [Setting(each.name, escape(each.before), escape(each.after)) for each in found.settings],
        [_row(row) for row in found.rows],
        METHOD,
    )
    return Report(content, list(_sections(found, before, after)))


def _sections(found: Comparison, before: Measured, after: Measured) -> Iterator[Section]:
    if before.trace.simulated or after.trace.simulated:
        yield Section(blocks=[Text(wording.SIMULATED)])
    facts = Facts((Fact("before", _when(before.trace)), Fact("after", _when(after.trace))))
    yield Section(f"{found.outcome.upper()}: {found.why}", [facts], tone=_TONES[found.outcome])
    if found.settings:
        lines = tuple((each.name, escape(each.before), escape(each.after)) for each in found.settings)
        table = Table((Column("fact"), Column("before"), Column("after")), lines)
        yield Section("What changed on the host", [table])
    else:
        yield Section("What changed on the host", [Text("Nothing that is recorded.")])
    for row in found.rows:
        yield _of(row)
    yield Section("Method", [Text(METHOD)])


def _of(row: Row) -> Section:
    who = row.subject
    name = wording.thread(who) if who.vcpu is None else f"vCPU {who.vcpu} of {wording.process(who)}"
    at = "" if row.rip is None else f" at {address(row.rip)}"
    sides = row.before, row.after
    lines = [(label, *("-" if side is None else of(side) for side in sides)) for label, of in _LINES.items()]
    blocks: list[Block] = [Table((Column("what"), Column("before"), Column("after")), tuple(lines))]
    if row.change and row.progress_change:
        blocks.append(Text(f"Time in penalties: {_change(row.change, 100, 'percentage points')}."))
        blocks.append(Text(f"Progress: {_change(row.progress_change, 1, 'a second')}."))
    return Section(f"{row.outcome}: {name}{at}: {row.why}", blocks, tone=_TONES[row.outcome])


_LINES: Mapping[str, Callable[[Side], str]] = {
    "finding": lambda side: side.verdict or "none",
    "traps": lambda side: f"{side.traps:,}",
    "traps/s": lambda side: _rates(side.traps_per_s),
    "early returns/s": lambda side: _rates(side.early_returns_per_s),
    "progress/s": lambda side: _rates(side.progress_per_s),
    "time in penalties": lambda side: _shares(side.penalty_share),
}


def _rates(found: Interval) -> str:
    return f"{rate(found.value)} ({rate(found.low)} to {rate(found.high)})"


def _shares(found: Interval) -> str:
    return f"{percent(found.value, 1)} ({percent(found.low, 1)} to {percent(found.high, 1)})"


# `-41.2 percentage points (-41.6 to -40.8)`, and whether that is more than chance.
def _change(found: Interval, factor: int, unit: str) -> str:
    value, low, high = (significant(factor * each, 3) for each in (found.value, found.low, found.high))
    text = f"{'+' if found.value > 0 else ''}{value} {unit} ({low} to {high})"
    if found.excludes_0:
        return text
    return f"{text}: 0 is in the interval" if found.value else f"no change ({low} to {high})"


def _when(trace: Trace) -> str:
    start, end = trace.span_ns
    host = escape(trace.text("host", "name"))
    where = f" on {host}" if host else ""
    return f"{wording.moment(trace, start)}, {wording.length(end - start)}{where}"


def _recording(one: Measured) -> RecordingContent:
    start, end = one.trace.span_ns
    return RecordingContent(
        escape(one.trace.text("host", "name")),
        one.trace.simulated,
        start,
        end,
        one.trace.wall_ns(start),
        one.trace.recording.counts.get("trap", 0),
        one.blocks,
        one.block_ns,
    )


def _row(row: Row) -> RowContent:
    rip = None if row.rip is None else address(row.rip)
    return RowContent(
        row.subject, rip, row.outcome, row.why, row.before, row.after, row.change, row.progress_change
    )
