"""What to read first in a report: the host, the time, and a verdict with a remedy for each VM and cause."""

from collections.abc import Iterator, Sequence
from typing import Any

from sldtrace.analyzers.finding import Finding
from sldtrace.dataset import folding
from sldtrace.dataset.accounts import incomplete
from sldtrace.dataset.trace import Trace
from sldtrace.recording.window import WINDOW
from sldtrace.reporters import groups, remedies, sentences, wording
from sldtrace.reporters.document import Fact, Overview, Report, Section, Text, Tone, Verdict
from sldtrace.reporters.groups import Group
from sldtrace.text.escape import escape

MOST = 50
"""VMs and causes that people get in full, the worst ones."""

_PROCESSES = 4  # that are named
_INCOMPLETE = "a part is missing, and there may be more findings: see the last section of the full report"


def brief(trace: Trace, found: Sequence[Finding[Any]]) -> Report:
    """The summary of a report alone, for people only: it has no data, and takes no pandas."""
    return Report(None, list(sections(trace, groups.grouped(found))))


def sections(trace: Trace, every: Sequence[Group]) -> Iterator[Section]:
    """The summary; `every`: all groups of findings."""
    if trace.simulated:
        yield Section(blocks=[Text(wording.SIMULATED)])
    yield _overview(trace, every[:MOST], None if every else _nothing(trace), _more(every[MOST:]))


# nothing: what it says if there is no finding; more: how many are left out.
def _overview(trace: Trace, groups: Sequence[Group], nothing: Fact | None, more: str) -> Section:
    start, end = trace.span_ns
    host = trace.text("host", "name")
    part = (trace.recording.closing or {}).get("ended_by") == WINDOW
    whole = " (--since, --until: a part of the recording)" if part else ""
    times = f"{wording.moment(trace, start)} to {wording.moment(trace, end)}"
    facts = [
        Fact(
            "simulated" if trace.simulated else "recorded", f"{times}, {wording.length(end - start)}{whole}"
        ),
        Fact("host", ", ".join([escape(host) if host else "name not known", *wording.host(trace)])),
    ]
    facts.append(Fact("about", wording.SPLIT_LOCK))
    if incomplete(trace) and nothing is None:
        facts.append(Fact("missing", _INCOMPLETE, tone=Tone.WARNING))
    title = f"Split locks on {escape(host) if host else 'a host without a name'}"
    return Section(blocks=[Overview(title, tuple(facts), tuple(_verdicts(trace, groups)), nothing, more)])


def _verdicts(trace: Trace, groups: Sequence[Group]) -> Iterator[Verdict]:
    explained = set()
    for group in groups:
        first = group.first
        yield Verdict(
            tone=sentences.TONES[first.severity],
            verdict=first.verdict,
            sentence=sentences.sentence(group),
            affected="" if group.who else _affected(trace, first),
            when=sentences.when(trace, group),
            cause="" if first.kind in explained else first.cause,
            step=remedies.step(first.remedies[0]) if first.remedies else None,
            related=sentences.see_also(group, groups),
        )
        explained.add(first.kind)


def _affected(trace: Trace, finding: Finding[Any]) -> str:
    threads = sorted(finding.numbers.affected)
    names = list(dict.fromkeys(wording.process(trace.subject(tgid, tid, None)) for tgid, tid in threads))
    more = f" and {len(names) - _PROCESSES:,} more" if len(names) > _PROCESSES else ""
    return ", ".join(names[:_PROCESSES]) + more


def _more(groups: Sequence[Group]) -> str:
    if not groups:
        return ""
    count = wording.plural(sum(len(each.found) for each in groups), "finding")
    return f"And {count} more, about {wording.plural(len(groups), 'VM or process', 'VMs or processes')}."


def _nothing(trace: Trace) -> Fact:
    title, tone = "NOTHING FOUND: the split-lock penalty holds up no thread", Tone.GOOD
    if incomplete(trace):
        title = "NOTHING FOUND IN AN INCOMPLETE RECORDING: the last section says what is missing"
        tone = Tone.WARNING
    return Fact(title, " ".join(_outcomes(trace)), tone=tone)


def _outcomes(trace: Trace) -> Iterator[str]:
    start, end = trace.span_ns
    threads = folding.fold(trace).threads.sums
    total = int(threads["traps"].sum())
    watched = f"Watched for {wording.length(end - start)}:"
    if not total:
        yield f"{watched} no split-lock trap."
        return
    yield f"{watched} {wording.plural(total, 'split-lock trap')} of {wording.plural(len(threads), 'thread')}."
    rest = total
    for name, text in (
        ("completed", "completed the penalty."),
        ("not_penalized", "not penalized."),
        ("early_returns", "ended early by a signal, not in a loop."),
        ("fatal", "ended in SIGBUS (split_lock_detect=fatal)."),
    ):
        count = int(threads[name].sum())
        rest -= count
        if count:
            verb = "" if name in ("completed", "fatal") else " was" if count == 1 else " were"
            yield f"{count:,}{verb} {text}"
    if rest:
        yield f"The end of {rest:,} was not seen."
