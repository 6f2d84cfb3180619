"""Sums up each thread that trapped: what was watched, also when nothing is wrong."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sldtrace.analyzers.finding import Finding
from sldtrace.rows import Rows
from sldtrace.trace import Trace

BYSTANDER = "bystander"
"""A thread that traps, and of which there is nothing to say."""


def summary(trace: Trace, findings: Sequence[Finding] | None = None) -> pd.DataFrame:
    """One row a thread, most traps first.

    Columns: tgid, tid, vcpu (nullable), guest (bool: False for a program's own split locks), traps,
    early_returns, served (penalties slept through), unpunished (let go at once), fatal (ended by SIGBUS),
    slept_ns, and punished: the share of its time from first to last trap that it slept or waited. What is in
    none of the four was not seen to the end. Then vm, vm_uuid and vmm, which like vcpu are those of its
    trace.Subject. With findings also verdict: that of the worst finding of the thread, or BYSTANDER.
    """
    columns = ["tgid", "tid", "vcpu", "guest", "traps", "early_returns", "served", "unpunished", "fatal"]
    threads = trace.rows("trap").threads
    sums = [{"tgid": tgid, "tid": tid} | _sums(rows) for (tgid, tid), rows in threads.items()]
    table = pd.DataFrame(sums, columns=[*columns, "slept_ns", "punished"])
    types = dict.fromkeys(table.columns, "int64") | {"vcpu": "Int64", "guest": "bool", "punished": "float64"}
    table = table.astype(types)
    subjects = [
        trace.subject(int(tgid), int(tid), None if pd.isna(vcpu) else int(vcpu))
        for tgid, tid, vcpu in table[["tgid", "tid", "vcpu"]].itertuples(index=False)
    ]
    table["vcpu"] = pd.Series([who.vcpu for who in subjects], dtype="Int64")
    for name in ("vm", "vm_uuid", "vmm"):
        table[name] = [getattr(who, name) for who in subjects]
    if findings is not None:
        worst = {
            (each.subject.tgid, each.subject.tid): each.verdict
            for each in sorted(findings, key=lambda each: each.severity)
            if each.subject
        }
        keys = table[["tgid", "tid"]].itertuples(index=False, name=None)
        table["verdict"] = pd.Series([worst.get(key, BYSTANDER) for key in keys], dtype=str)
    return table.sort_values("traps", ascending=False, kind="stable", ignore_index=True)


def _sums(rows: Rows) -> dict[str, Any]:
    whole = rows["handled"] & ~rows["early"] & ~rows["return_missed"]
    known = rows["vcpu"].dropna()
    slept = int(rows["sleep_ns"].sum())
    span = max(int(rows["exit_ns"].max() - rows["enter_ns"].min()), 1)
    return {
        "vcpu": int(known.iloc[-1]) if len(known) else None,
        "guest": bool(rows["guest"].any()),
        "traps": len(rows),
        "early_returns": int(rows["early"].sum()),
        "served": int((whole & rows["slept"]).sum()),
        "unpunished": int((whole & ~rows["slept"]).sum()),
        "fatal": int(rows["fatal"].sum()),
        "slept_ns": slept,
        "punished": round((slept + int(rows["semaphore_ns"].sum())) / span, 4),
    }
