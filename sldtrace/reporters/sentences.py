"""What a summary and its findings say in a sentence: who is affected and how, when, and what is related."""

from collections.abc import Sequence

from sldtrace.analyzers.finding import Severity
from sldtrace.dataset.trace import Trace
from sldtrace.reporters import groups, wording
from sldtrace.reporters.document import Reference, Tone, marked
from sldtrace.reporters.groups import Group

TONES = {
    Severity.CRITICAL: Tone.CRITICAL,
    Severity.WARNING: Tone.WARNING,
    Severity.NOTICE: Tone.NOTICE,
}

_RELATED = 4


def title(group: Group) -> str:
    """The title of its section, as `document.Verdict.title` has it."""
    return f"{_mark(group)}: {sentence(group)}"


def _mark(group: Group) -> str:
    return marked(group.first.verdict, TONES[group.first.severity])


def see_also(group: Group, others: Sequence[Group]) -> list[Reference]:
    """The groups that have to do with it: `QUEUE`, `DELAYED (vCPU 0 of VM web-1)`."""
    found = groups.related(group, others)
    shown = [Reference(_short(each), title(each)) for each in found[:_RELATED]]
    return shown + [Reference(f"and {len(found) - _RELATED:,} more")] * (len(found) > _RELATED)


def _short(group: Group) -> str:
    whose = f" ({group.threads} of {wording.process(group.who)})" if group.who else ""
    return f"{group.first.verdict.upper()}{whose}"


def sentence(group: Group) -> str:
    """Who is affected, and how."""
    first, who = group.first, group.who
    if who is None:
        name = ""
    elif group.worst:
        name = f"{group.threads} of {wording.process(who)}: {group.worst}"
    elif who.vcpu is None:
        name = f"a thread of {wording.thread(who)} "
    else:
        name = f"vCPU {who.vcpu} of {wording.thread(who)} "
    return f"{name}{first.headline}"


def when(trace: Trace, group: Group) -> str:
    """Since when, or from when to when, and how long."""
    start, lasted = wording.moment(trace, group.start_ns), wording.length(group.end_ns - group.start_ns)
    last = wording.moment_since(trace, group.start_ns, trace.span_ns[1])
    if group.ongoing:
        return f"since {start}, for {lasted}; not ended when the recording did, at {last}"
    end = wording.moment_since(trace, group.start_ns, group.end_ns)
    return f"{start} to {end}, {lasted}; not seen since (recorded until {last})"
