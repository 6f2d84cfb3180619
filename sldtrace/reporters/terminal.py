"""The report for a person at a terminal: the verdict first, then the evidence, then what to change."""

import textwrap
from collections.abc import Iterator
from typing import Any

import pandas as pd

from sldtrace import durations, sizes
from sldtrace.analyzers.finding import Finding, Severity
from sldtrace.escape import escape
from sldtrace.host import signals
from sldtrace.recording.schema import NO_CPU
from sldtrace.reporters import excerpt, tables, wording
from sldtrace.reporters.style import Style
from sldtrace.trace import Trace

_SLOWED_TRAPS = 3  # fewer have no "time in between"
_SLOWED = 0.05  # of a thread's time in penalties: noticed by whoever uses the guest
_NAME_WIDTH = 24  # characters of a name in the table
_BACKENDS = ("fentry", "kprobe", "")
_COLOURS = {Severity.CRITICAL: "31;1", Severity.WARNING: "33;1", Severity.NOTICE: "36;1"}


def render(trace: Trace, findings: list[Finding], threads: pd.DataFrame, style: Style) -> str:
    """The whole report; `threads` as analyzers.threads.summary gives it."""
    parts = [wording.SIMULATED] if trace.simulated else []
    for finding in findings:
        parts.append("\n".join(_finding(trace, finding, style)))
    if not findings:
        parts.append(_nothing(trace, threads, style))
    if len(threads):
        parts.append("Threads that trapped\n" + _indent(_thread_table(trace, threads)))
    parts.append("\n".join(_recording(trace, style)))
    return "\n\n".join(parts) + "\n"


def _finding(trace: Trace, finding: Finding, style: Style) -> Iterator[str]:
    yield from _headline(finding, style)
    yield ""
    for name, text in _facts(trace, finding):
        yield textwrap.fill(text, style.width, initial_indent=f"  {name:<10}", subsequent_indent=" " * 12)
    yield ""
    yield _fill(finding.cause, style)
    yield ""
    yield f"  Evidence: {wording.plural(len(finding.evidence), 'trap')}"
    yield _indent(tables.table(excerpt.rows(trace, finding.evidence).to_dict("records")), 4)
    yield ""
    yield "  What to change, and what it costs"
    for number, remedy in enumerate(finding.remedies, 1):
        lead = f"    {number}. "
        yield textwrap.fill(remedy.what, style.width, initial_indent=lead, subsequent_indent=" " * 7)
        if remedy.command:
            yield f"         {remedy.command}"
        price = f"price: {remedy.price}"
        yield textwrap.fill(price, style.width, initial_indent=" " * 7, subsequent_indent=" " * 7)


def _headline(finding: Finding, style: Style) -> Iterator[str]:
    who = finding.subject
    vcpu = "a thread" if who.vcpu is None else f"vCPU {who.vcpu}"
    what = (
        f"{vcpu} of {wording.thread(who)} "
        f"{'does not get past' if finding.severity == Severity.CRITICAL else 'is held up at'} "
        f"{'guest ' if finding.numbers['guest'] else ''}address {finding.rip:#x}"
    )
    first, *rest = textwrap.wrap(f"{finding.verdict.upper()}: {what}", style.width)
    yield style.loud(first, _COLOURS[finding.severity])
    yield from rest
    yield f"  ({finding.kind})"


def _facts(trace: Trace, finding: Finding) -> Iterator[tuple[str, str]]:
    n = finding.numbers
    yield "when", _when(trace, finding)
    semaphore = (
        f" ({n['semaphore_early_returns']:,} from its semaphore)" if n["semaphore_early_returns"] else ""
    )
    yield "traps", f"{n['traps']:,}, of which {n['early_returns']:,} early returns of the penalty{semaphore}"
    asked = f"{wording.length(n['sleep_shortest_ns'])} to {wording.length(n['sleep_longest_ns'])}"
    yield "slept", f"{wording.length(n['slept_median_ns'])} (median), where the penalty lasts {asked}"
    yield "signal", _signal(n)
    yield "progress", _progress(finding)


def _when(trace: Trace, finding: Finding) -> str:
    n = finding.numbers
    # Nothing shorter than a penalty tells whether it went on.
    lasts = trace.span_ns[1] - finding.end_ns < 2 * n["sleep_longest_ns"]
    end = "the end of the recording" if lasts else wording.moment(trace, finding.end_ns, date=False)
    text = f"{wording.moment(trace, finding.start_ns)} to {end}: {wording.length(n['in_loops_ns'])}"
    if n["loops"] > 1:
        text += f" in {n['loops']:,} stretches, the longest {wording.length(n['longest_ns'])}"
    return text


def _signal(n: dict[str, Any]) -> str:
    if n["signal"] is None:
        return "none was seen"
    name = f"{signals.name(n['signal'])} to the {'process' if n['signal_group'] else 'thread'}"
    sender = f", sent by PID {n['signal_tgid']}, TID {n['signal_tid']}" if n["signal_tid"] else ""
    made = f", {signals.code_name(n['signal_code'])}: {signals.source(n['signal_code'])}{sender}"
    often = ""
    if n["period_ns"] is not None:
        spread = wording.length(n["period_spread_ns"])
        often = f", every {wording.length(n['period_ns'])} (quartiles {spread} apart)"
    share = "" if n["signal_seen"] == n["early_returns"] else f"; it ended {n['signal_seen']:,} of the sleeps"
    return name + made + often + share


def _progress(finding: Finding) -> str:
    n = finding.numbers
    parts = [
        f"detection was switched off for it {wording.plural(n['released'], 'time')}",
    ]
    if n["guest_ns"] is not None:
        span = n["in_loops_ns"]
        parts.append(
            f"{wording.length(n['guest_ns'])} in the guest ({wording.percent(n['guest_ns'], span)}) and "
            f"{wording.plural(n['exits'], 'VM exit')} over {wording.plural(n['watched_traps'], 'trap')}"
        )
    else:
        parts.append("what the guest did in between was not recorded")
    return ("some: " if n["released"] else "none: ") + ", ".join(parts)


def _nothing(trace: Trace, threads: pd.DataFrame, style: Style) -> str:
    start, end = trace.span_ns
    total = int(threads["traps"].sum())
    often = threads["early_returns"] + threads["served"] >= _SLOWED_TRAPS
    slowed = threads[often & (threads["punished"] >= _SLOWED)]
    if len(slowed):
        headline = "NO LOOP FOUND, but threads are slowed by the split-lock penalty"
    elif _incomplete(trace):
        headline = "NOTHING FOUND IN WHAT IS THERE: the recording is not complete"
    else:
        headline = "NOTHING FOUND: nobody is caught in early returns of the split-lock penalty"
    good = headline.startswith("NOTHING FOUND:")
    lines = [style.loud(headline, "32;1" if good else _COLOURS[Severity.WARNING]), ""]
    what = f"  Watched for {wording.length(end - start)}: "
    if not total:
        what += "nobody took a split-lock trap."
    else:
        what += f"{wording.plural(total, 'split-lock trap')} of {wording.plural(len(threads), 'thread')}."
        served, free = int(threads["served"].sum()), int(threads["unpunished"].sum())
        if served:
            what += f" {served:,} slept the penalty to the end and then went on."
        if free:
            what += f" {free:,} {'was' if free == 1 else 'were'} let go at once, unpunished."
        early = int(threads["early_returns"].sum())
        if early:
            what += f" {early:,} {'was' if early == 1 else 'were'} cut short by a signal, not in a loop."
        fatal = int(threads["fatal"].sum())
        if fatal:
            what += f" {fatal:,} ended in SIGBUS (split_lock_detect=fatal)."
        rest = total - served - free - early - fatal
        if rest:
            what += f" Of {rest:,} it was not seen how they ended."
    lines.append(textwrap.fill(what, style.width, subsequent_indent="  "))
    for row in slowed.to_dict("records"):
        who = wording.thread(trace.subject(row["tgid"], row["tid"], None))
        share = wording.percent(row["punished"], 1)
        lines.append(
            _fill(f"{who} spent {share} of its time in penalties, but got through each of them.", style)
        )
    if _incomplete(trace):
        lines.append("  The recording is not complete (see below): what is missing may hide something.")
    return "\n".join(lines)


def _incomplete(trace: Trace) -> bool:
    recording = trace.recording
    return bool(not recording.closed or recording.losses or recording.warnings or _missing(trace))


# Traps that were counted, and are neither in the file nor known to be lost.
def _missing(trace: Trace) -> int:
    seen, going = trace.closing("seen", "trap"), trace.closing("unfinished", "trap") or 0
    if seen is None:
        return 0
    lost = sum(
        loss.count for loss in trace.recording.losses if loss.kind == "trap" and loss.cause != "skipped"
    )
    return seen - _before(trace) - trace.recording.counts.get("trap", 0) - lost - going - _not_kept(trace)


# Traps in the files before this one, where a recording has several (--rotate).
def _before(trace: Trace) -> int:
    return trace.number("segment", "before", "trap") or 0


# Traps that the recorder let go to keep to a limit (--keep).
def _not_kept(trace: Trace) -> int:
    released = trace.recording.released
    return released.records.get("trap", 0) if released else 0


def _thread_table(trace: Trace, threads: pd.DataFrame) -> str:
    rows = []
    column = "VM or process" if threads["vm"].astype(bool).any() else "process"
    for row in threads.to_dict("records"):
        who = trace.subject(row["tgid"], row["tid"], None)
        rows.append(
            {
                column: escape(f"VM {who.vm}" if who.vm else who.process, _NAME_WIDTH),
                "PID": row["tgid"],
                "TID": row["tid"],
                "vCPU": "-" if pd.isna(row["vcpu"]) else row["vcpu"],
                "traps": f"{row['traps']:,}",
                "early": f"{row['early_returns']:,}",
                "served": f"{row['served']:,}",
                "let go": f"{row['unpunished']:,}",
                "slept": wording.length(row["slept_ns"]),
            }
        )
    return tables.table(rows, numbers=True)


def _recording(trace: Trace, style: Style) -> Iterator[str]:
    start, end = trace.span_ns
    recording = trace.recording
    how = "Simulated" if trace.simulated else "Recorded"
    yield f"{how} {wording.moment(trace, start)}, {wording.length(end - start)}, on"
    for line in wording.host(trace):
        yield _fill(line, style)
    yield _fill(_accounts(trace), style)
    yield from _segment(trace, style)
    yield from _kept(trace, style)
    yield from _probes(trace, style)
    yield from _skipped(trace, style)
    for loss in recording.losses:
        where = "" if loss.cpu == NO_CPU else f" on CPU {loss.cpu}"
        yield f"  lost{where}: {wording.plural(loss.count, loss.kind + ' record')} ({loss.cause})"
    for warning in recording.warnings:
        yield _fill(f"warning: {warning}", style)


def _segment(trace: Trace, style: Style) -> Iterator[str]:
    number = trace.number("segment", "number")
    if number is not None:
        yield _fill(f"File number {number} of a recording in several (--rotate)", style)


def _kept(trace: Trace, style: Style) -> Iterator[str]:
    released = trace.recording.released
    if released is None:
        return
    limits = []
    if released.limit_ns is not None:
        limits.append(durations.render(released.limit_ns))
    if released.limit_bytes is not None:
        limits.append(sizes.render(released.limit_bytes))
    gone = [wording.plural(count, f"{escape(kind)} record") for kind, count in released.records.items()]
    start, end = trace.span_ns
    yield _fill(
        f"As asked (--keep {' --keep '.join(limits)}) only the last {wording.length(end - start)} were kept;"
        f" not kept, from {wording.moment(trace, released.first_ns)} on:"
        f" {', '.join(gone) or 'no records'}",
        style,
    )


def _probes(trace: Trace, style: Style) -> Iterator[str]:
    by_backend = {kind: [name for name, backend in trace.probes if backend == kind] for kind in _BACKENDS}
    used = ", ".join(f"{kind} on {' '.join(names)}" for kind, names in by_backend.items() if kind and names)
    if used:
        yield _fill(f"Probes: {escape(used)}", style)
    if by_backend[""]:
        yield _fill(f"Could not be watched: {escape(', '.join(by_backend['']))}", style)


def _skipped(trace: Trace, style: Style) -> Iterator[str]:
    closing = trace.recording.closing or {}
    skipped = closing.get("skipped")
    if isinstance(skipped, dict) and skipped:
        names = ", ".join(f"{name} {trace.closing('skipped', name) or 0:,}" for name in skipped)
        yield _fill(
            f"The kernel skipped probes (recursion), so records may lack something: {escape(names)}", style
        )


def _accounts(trace: Trace) -> str:
    written = trace.recording.counts.get("trap", 0)
    losses = [loss for loss in trace.recording.losses if loss.kind == "trap"]
    lost = sum(loss.count for loss in losses)
    seen = trace.closing("seen", "trap")
    if seen is None:
        begun = wording.plural(written, "trap")
        if (trace.recording.closing or {}).get("ended_by") == "rotation":
            return f"{begun} recorded, {lost:,} lost in this file; the recording goes on in the next one"
        how = "ended by an error" if trace.recording.closed else "not ended"
        return f"{begun} recorded, {lost:,} lost; the recording was {how}: more may be missing"
    counted = seen - _before(trace) + sum(loss.count for loss in losses if loss.cause == "skipped")
    going = trace.closing("unfinished", "trap") or 0
    total = wording.plural(counted, "trap")
    text = f"{total} counted = {written:,} recorded + {lost:,} lost + {going:,} unfinished"
    if trace.recording.released:
        text += f" + {_not_kept(trace):,} not kept"
    missing = _missing(trace)
    return text if not missing else f"{text} + {missing:,} missing from this file"


def _fill(text: str, style: Style) -> str:
    return textwrap.fill(text, style.width, initial_indent="  ", subsequent_indent="  ")


def _indent(text: str, by: int = 2) -> str:
    return textwrap.indent(text, " " * by)
