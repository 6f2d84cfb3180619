"""Sums up each thread that trapped, with or without a finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sldtrace.analyzers.finding import Finding, Numbers
from sldtrace.dataset import folding, frames
from sldtrace.dataset.folding import Folded
from sldtrace.dataset.frames import Column
from sldtrace.dataset.trace import Trace
from sldtrace.lazy import pd

UNAFFECTED = "unaffected"
"""The verdict of a thread that traps, and that no finding is about."""


_TRAP = frames.columns("trap")
COLUMNS: Mapping[str, Column] = {
    **{name: _TRAP[name] for name in ("tgid", "tid", "vcpu")},
    "guest": Column("bool", "flag", "a vCPU: false for a program's own split locks"),
    "traps": Column("int64", "count", "traps"),
    "early_returns": Column("int64", "count", "traps whose penalty a signal ended"),
    "completed": Column("int64", "count", "traps whose penalty was slept to its end"),
    "not_penalized": Column("int64", "count", "traps without a penalty"),
    "fatal": Column(
        "int64", "count", "ended by SIGBUS. A trap in none of these four was not seen to its end"
    ),
    "slept_ns": Column("int64", "ns", "time in the penalties' sleep; not what it waited for a CPU after it"),
    "penalty_share": Column("float64", "share", "time slept or waited, of its time from first to last trap"),
    "vm": Column("text", "name", "name of the VM, or its id; empty: not known"),
    "vm_uuid": Column("text", "name", "its UUID; empty: not known"),
    "vmm": Column("text", "name", "the program that runs it; empty: not known"),
    "verdict": Column(
        "text", "name", "of the worst finding that is about it, or has it among its victims; or unaffected"
    ),
}
"""The columns of `summarize`; vcpu and the names are those of its trace.Subject."""


def summarize(trace: Trace, findings: Sequence[Finding[Any]] | None = None) -> pd.DataFrame:
    """One row a thread, most traps first; columns: COLUMNS, the last of them only with findings."""
    types = {name: column.dtype for name, column in COLUMNS.items() if column.dtype != "text"}
    folded = folding.fold(trace)
    table = _sums(folded).astype(types)[list(types)]
    subjects = [
        trace.subject(tgid, tid, vcpu)
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
        table["verdict"] = pd.Series([worst.get(key, UNAFFECTED) for key in keys], dtype=str)
    return table.sort_values("traps", ascending=False, kind="stable", ignore_index=True)


# The threads of a finding: its subject, or those that it affects.
def _concerned(finding: Finding[Numbers]) -> list[tuple[int, int]]:
    if finding.subject:
        return [(finding.subject.tgid, finding.subject.tid)]
    return finding.numbers.affected


# In order of appearance.
def _sums(folded: Folded) -> pd.DataFrame:
    sums = folded.threads.sums
    order = np.argsort(sums["start_ns"], kind="stable")
    sums = sums[order]
    names = ("guest", "traps", "early_returns", "completed", "not_penalized", "fatal", "slept_ns")
    table = pd.DataFrame({name: sums[name] for name in names})
    table["tgid"], table["tid"] = folded.numbers.tgid[order], folded.numbers.tid[order]
    table["vcpu"] = pd.array(sums["vcpu"].astype(np.int64), "Int64")
    table.loc[sums["vcpu"] < 0, "vcpu"] = pd.NA
    span = np.maximum(sums["end_ns"] - sums["start_ns"], 1)
    shares = ((sums["slept_ns"] + sums["waited_ns"]) / span).tolist()
    table["penalty_share"] = [round(share, 4) for share in shares]
    return table
