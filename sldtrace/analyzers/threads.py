"""Sums up each thread that trapped: what was watched, also when nothing is wrong."""

from collections.abc import Sequence

import pandas as pd

from sldtrace.analyzers.finding import Finding
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
    traps = trace.traps
    whole = traps["handled"] & ~traps["early"] & ~traps["return_missed"]
    rows = traps.assign(served=whole & traps["slept"], unpunished=whole & ~traps["slept"])
    by_thread = rows.groupby(["tgid", "tid"], sort=False)
    table = pd.DataFrame(
        {
            "vcpu": by_thread["vcpu"].last(),
            "guest": by_thread["guest"].any(),
            "traps": by_thread.size(),
            "early_returns": by_thread["early"].sum(),
            "served": by_thread["served"].sum(),
            "unpunished": by_thread["unpunished"].sum(),
            "fatal": by_thread["fatal"].sum(),
            "slept_ns": by_thread["sleep_ns"].sum(),
        }
    )
    span = by_thread["exit_ns"].max() - by_thread["enter_ns"].min()
    share = (table["slept_ns"] + by_thread["semaphore_ns"].sum()) / span.clip(lower=1)
    table["punished"] = share.astype("float64").round(4)
    table = table.reset_index()
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
