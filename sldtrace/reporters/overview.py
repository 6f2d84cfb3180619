"""What to read first in a report: the host, the time, and a verdict with a remedy for each VM and cause."""

from collections.abc import Iterator, Sequence
from typing import Any

from sldtrace.analyzers.finding import Finding
from sldtrace.dataset.accounts import incomplete
from sldtrace.dataset.trace import Trace
from sldtrace.recording.window import WINDOW
from sldtrace.reporters import findings, remedies, wording
from sldtrace.reporters.document import Fact, Overview, Section, Tone, Verdict
from sldtrace.reporters.groups import Group
from sldtrace.text.escape import escape

_PROCESSES = 4  # that are named
_INCOMPLETE = "a part is missing, and there may be more findings: see the last section of the full report"


def section(trace: Trace, groups: Sequence[Group], nothing: Fact | None, more: str = "") -> Section:
    """The summary; nothing: what it says if there is no finding; more: how many are left out."""
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
            tone=findings.TONES[first.severity],
            verdict=first.verdict,
            sentence=findings.sentence(group),
            affected="" if group.who else _affected(trace, first),
            when=findings.when(trace, group),
            cause="" if first.kind in explained else first.cause,
            step=remedies.step(first.remedies[0]) if first.remedies else None,
            related=findings.see_also(group, groups),
        )
        explained.add(first.kind)


def _affected(trace: Trace, finding: Finding[Any]) -> str:
    threads = sorted(finding.numbers.affected)
    names = list(dict.fromkeys(wording.process(trace.subject(tgid, tid, None)) for tgid, tid in threads))
    more = f" and {len(names) - _PROCESSES:,} more" if len(names) > _PROCESSES else ""
    return ", ".join(names[:_PROCESSES]) + more
