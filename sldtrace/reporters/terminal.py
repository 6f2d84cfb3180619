"""The report for a person at a terminal: the verdict first, then the evidence, then what to change."""

import textwrap
from collections.abc import Iterator
from typing import Any

import pandas as pd

from sldtrace.analyzers.finding import Finding, Severity
from sldtrace.escape import escape
from sldtrace.host import signals
from sldtrace.reporters import around, excerpt, exits, recorded, tables, wording
from sldtrace.reporters.style import Style
from sldtrace.trace import Trace

_SLOWED_TRAPS = 3  # fewer have no "time in between"
_SLOWED = 0.05  # of a thread's time in penalties: noticed by whoever uses the guest
_NAME_WIDTH = 24  # characters of a name in the table
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
    parts += [
        text for text in (exits.render(trace, threads, style), around.render(trace, threads, style)) if text
    ]
    parts.append(recorded.render(trace, style))
    return "\n\n".join(parts) + "\n"


def _finding(trace: Trace, finding: Finding, style: Style) -> Iterator[str]:
    yield from _headline(finding, style)
    yield ""
    for name, text in _facts(trace, finding):
        yield textwrap.fill(text, style.width, initial_indent=f"  {name:<10}", subsequent_indent=" " * 12)
    yield ""
    yield wording.fill(finding.cause, style)
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
    elif recorded.incomplete(trace):
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
            wording.fill(
                f"{who} spent {share} of its time in penalties, but got through each of them.", style
            )
        )
    if recorded.incomplete(trace):
        lines.append("  The recording is not complete (see below): what is missing may hide something.")
    return "\n".join(lines)


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


def _indent(text: str, by: int = 2) -> str:
    return textwrap.indent(text, " " * by)
