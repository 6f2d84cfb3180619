"""The report for a person at a terminal: the verdict first, then the evidence, then what to change."""

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sldtrace.analyzers import limitations
from sldtrace.analyzers.finding import Finding, Severity
from sldtrace.analyzers.needs import NotEvaluated
from sldtrace.dataset.trace import Trace
from sldtrace.reporters import context, exits, recorded, tables, wording
from sldtrace.reporters import findings as shown
from sldtrace.reporters.style import Style
from sldtrace.text.escape import escape

_NAME_WIDTH = 18  # characters of a name in the table


def render(
    trace: Trace,
    findings: list[Finding[Any]],
    threads: pd.DataFrame,
    style: Style,
    not_evaluated: Sequence[NotEvaluated] = (),
) -> str:
    """The whole report; `threads` as analyzers.threads.summary gives it, the others as the catalogue does."""
    parts = [wording.SIMULATED] if trace.simulated else []
    for finding in findings:
        parts.append(shown.render(trace, finding, style))
    if not findings:
        parts.append(_nothing(trace, threads, style))
    if said := "\n".join(wording.fill(text, style).strip() for text in limitations.of(trace)):
        parts.append(said)
    if said := shown.not_evaluated(not_evaluated, style):
        parts.append(said)
    if len(threads):
        parts.append("Threads that trapped\n" + _indent(_thread_table(trace, threads, style)))
    parts += [
        text for text in (exits.render(trace, threads, style), context.render(trace, threads, style)) if text
    ]
    parts.append(recorded.render(trace, style))
    return "\n\n".join(parts) + "\n"


def _nothing(trace: Trace, threads: pd.DataFrame, style: Style) -> str:
    start, end = trace.span_ns
    total = int(threads["traps"].sum())
    if recorded.incomplete(trace):
        headline = "NOTHING FOUND IN WHAT IS THERE: the recording is not complete"
    else:
        headline = "NOTHING FOUND: nobody is held up by the split-lock penalty"
    good = headline.startswith("NOTHING FOUND:")
    lines = [style.loud(headline, "32;1" if good else shown.COLOURS[Severity.WARNING]), ""]
    what = f"  Watched for {wording.length(end - start)}: "
    if not total:
        what += "nobody took a split-lock trap."
    else:
        what += f"{wording.plural(total, 'split-lock trap')} of {wording.plural(len(threads), 'thread')}."
        completed, free = int(threads["completed"].sum()), int(threads["not_penalized"].sum())
        if completed:
            what += f" {completed:,} slept the penalty to the end and then went on."
        if free:
            what += f" {free:,} {'was' if free == 1 else 'were'} not penalized."
        early = int(threads["early_returns"].sum())
        if early:
            what += f" {early:,} {'was' if early == 1 else 'were'} cut short by a signal, not in a loop."
        fatal = int(threads["fatal"].sum())
        if fatal:
            what += f" {fatal:,} ended in SIGBUS (split_lock_detect=fatal)."
        rest = total - completed - free - early - fatal
        if rest:
            what += f" Of {rest:,} it was not seen how they ended."
    lines.append(textwrap.fill(what, style.width, subsequent_indent="  "))
    if recorded.incomplete(trace):
        lines.append("  The recording is not complete (see below): what is missing may hide something.")
    return "\n".join(lines)


def _thread_table(trace: Trace, threads: pd.DataFrame, style: Style) -> str:
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
                "early\nreturns": f"{row['early_returns']:,}",
                "completed": f"{row['completed']:,}",
                "not\npenalized": f"{row['not_penalized']:,}",
                "slept": wording.length(row["slept_ns"]),
            }
        )
    return tables.table(rows, numbers=True, width=style.width - 2)


def _indent(text: str, by: int = 2) -> str:
    return textwrap.indent(text, " " * by)
