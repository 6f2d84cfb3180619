"""Sums up each thread that trapped: what was watched, also when nothing is wrong."""

import pandas as pd

from sldtrace.trace import Trace


def summary(trace: Trace) -> pd.DataFrame:
    """One row a thread, most traps first.

    Columns: tgid, tid, vcpu (nullable), guest (bool: False for a program's own split locks), traps,
    early_returns, served (penalties slept through), unpunished (let go at once), addresses (distinct),
    slept_ns.
    """
    traps = trace.traps
    early = (traps["sleep_left_ms"] > 0) | (traps["semaphore_result"] < 0)
    rows = traps.assign(
        early=early,
        served=traps["slept"] & ~early,
        unpunished=traps["handled"] & ~traps["slept"],
    )
    by_thread = rows.groupby(["tgid", "tid"], sort=False)
    table = pd.DataFrame(
        {
            "vcpu": by_thread["vcpu"].last(),
            "guest": by_thread["guest"].any(),
            "traps": by_thread.size(),
            "early_returns": by_thread["early"].sum(),
            "served": by_thread["served"].sum(),
            "unpunished": by_thread["unpunished"].sum(),
            "addresses": by_thread["rip"].nunique(),
            "slept_ns": by_thread["sleep_ns"].sum(),
        }
    )
    return table.reset_index().sort_values("traps", ascending=False, kind="stable", ignore_index=True)
