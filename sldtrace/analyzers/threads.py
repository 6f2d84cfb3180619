"""Sums up each thread that trapped: what was watched, also when nothing is wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from sldtrace.analyzers.finding import Finding, Numbers
from sldtrace.dataset import frames
from sldtrace.dataset.frames import Column
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace

BYSTANDER = "bystander"
"""A thread that traps, and of which there is nothing to say."""


_TRAP = frames.columns("trap")
COLUMNS: Mapping[str, Column] = {
    **{name: _TRAP[name] for name in ("tgid", "tid", "vcpu")},
    "guest": Column("bool", "flag", "a vCPU: false for a program's own split locks"),
    "traps": Column("int64", "count", "traps"),
    "early_returns": Column("int64", "count", "penalties that were cut short"),
    "completed": Column("int64", "count", "penalties that were slept through"),
    "not_penalized": Column("int64", "count", "traps that were let go at once"),
    "fatal": Column("int64", "count", "ended by SIGBUS. What is in none of the four was not seen to the end"),
    "slept_ns": Column("int64", "ns", "time in the penalties' sleep"),
    "punished": Column("float64", "share", "of its time from first to last trap that it slept or waited"),
    "vm": Column("text", "name", "name of the VM, or its id; empty: not known"),
    "vm_uuid": Column("text", "name", "its UUID; empty: not known"),
    "vmm": Column("text", "name", "the program that runs it; empty: not known"),
    "verdict": Column(
        "text", "name", "of the worst finding about it or of whose victims it is one; or bystander"
    ),
}
"""The columns of `summary`; vcpu and the names are those of its trace.Subject."""


def summary(trace: Trace, findings: Sequence[Finding[Any]] | None = None) -> pd.DataFrame:
    """One row a thread, most traps first; columns: COLUMNS, the last of them only with findings."""
    types = {name: column.dtype for name, column in COLUMNS.items() if column.dtype != "text"}
    threads = trace.rows("trap").threads
    sums = [{"tgid": tgid, "tid": tid} | _sums(rows) for (tgid, tid), rows in threads.items()]
    table = pd.DataFrame(sums, columns=list(types)).astype(types)
    subjects = [
        trace.subject(int(tgid), int(tid), None if pd.isna(vcpu) else int(vcpu))
        for tgid, tid, vcpu in table[["tgid", "tid", "vcpu"]].itertuples(index=False)
    ]
    table["vcpu"] = pd.Series([who.vcpu for who in subjects], dtype="Int64")
    for name in ("vm", "vm_uuid", "vmm"):
        table[name] = pd.Series([getattr(who, name) for who in subjects], dtype=str)
    if findings is not None:
        worst = {
            who: each.verdict
            for each in sorted(findings, key=lambda each: each.severity)
            for who in _concerned(each)
        }
        keys = table[["tgid", "tid"]].itertuples(index=False, name=None)
        table["verdict"] = pd.Series([worst.get(key, BYSTANDER) for key in keys], dtype=str)
    return table.sort_values("traps", ascending=False, kind="stable", ignore_index=True)


# Of a finding without a subject, those that it counts among its victims.
def _concerned(finding: Finding[Numbers]) -> list[tuple[int, int]]:
    if finding.subject:
        return [(finding.subject.tgid, finding.subject.tid)]
    return finding.numbers.affected


def _sums(rows: Rows) -> dict[str, Any]:
    whole = rows["handled"] & ~rows["early_return"] & ~rows["return_missed"]
    known = rows["vcpu"].dropna()
    slept = int(rows["sleep_ns"].sum())
    span = max(int(rows["end_ns"].max() - rows["start_ns"].min()), 1)
    return {
        "vcpu": int(known.iloc[-1]) if len(known) else None,
        "guest": bool(rows["guest"].any()),
        "traps": len(rows),
        "early_returns": int(rows["early_return"].sum()),
        "completed": int((whole & rows["slept"]).sum()),
        "not_penalized": int((whole & ~rows["slept"]).sum()),
        "fatal": int(rows["fatal"].sum()),
        "slept_ns": slept,
        "punished": round((slept + int(rows["semaphore_ns"].sum())) / span, 4),
    }
