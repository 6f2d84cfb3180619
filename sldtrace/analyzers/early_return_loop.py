"""Finds threads that trap on one instruction for ever because a signal ends each penalty sleep early.

The rule. split_lock_warn sleeps interruptibly and returns, with detection still on, when the sleep was cut
short: `if (msleep_interruptible(10) > 0) return;` (b041b525dab9). So a trap with a result above 0 changes
nothing, and the thread traps on the same instruction again. A chain of such traps of one thread at one
address is a loop when it has outlasted a whole penalty, that is, when a thread left alone would have got
through. Needs `trap` records only; VM exits and guest time, where they were recorded, say whether the guest
did anything in between.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sldtrace.analyzers.finding import Finding, Remedy, Severity
from sldtrace.host import signals
from sldtrace.host.signals import Code
from sldtrace.model import penalty as kernel_penalty
from sldtrace.model.penalty import Penalty
from sldtrace.trace import Trace

KIND = "early-return-loop"
NEEDS = ("trap",)

_MIN_TRAPS = 3  # a signal may fall into two sleeps in a row by chance; it then has missed the next one
_LIVELOCK_PENALTIES = 8  # so many penalties long without one getting through: no chance, but a pattern


def find(trace: Trace) -> list[Finding]:
    """One finding for each thread and address with loops, the longest first."""
    penalty = kernel_penalty.of_facts(trace.facts)
    rows = in_loops(chains(trace.traps, penalty), penalty)
    found = [_finding(trace, penalty, group) for _, group in rows.groupby(["tid", "rip"], sort=False)]
    return sorted(found, key=lambda finding: finding.numbers["longest_ns"], reverse=True)


def chains(traps: pd.DataFrame, penalty: Penalty) -> pd.DataFrame:
    """The traps whose sleep returned early, by thread and time, with the number of their chain in `chain`.

    A chain goes on while the thread, the address and the early return stay the same and the guest has not run
    for a jiffy in between: that is what it gets, at the least, when detection is off (for two jiffies).
    """
    rows = traps.sort_values(["tid", "enter_ns"], kind="stable", ignore_index=True)
    early = rows["sleep_left_ms"] > 0
    goes_on = (
        early
        & early.shift(fill_value=False)
        & _as_before(rows["tid"])
        & _as_before(rows["rip"])
        & (rows["guest_ns"] < penalty.tick_ns)
    )
    rows["chain"] = (~goes_on).cumsum()
    return rows[early]


# Not by `shift`, which makes floats of integers: two addresses in the kernel's half may then look alike.
def _as_before(column: pd.Series) -> npt.NDArray[np.bool_]:
    values = column.to_numpy()
    same: npt.NDArray[np.bool_] = np.zeros(len(values), bool)
    same[1:] = values[1:] == values[:-1]
    return same


def in_loops(rows: pd.DataFrame, penalty: Penalty) -> pd.DataFrame:
    """Those rows of `chains` whose chain has outlasted a whole penalty; `lasted_ns` is the chain's length."""
    by_chain = rows.groupby("chain")
    lasted = by_chain["exit_ns"].transform("max") - by_chain["enter_ns"].transform("min")
    count = by_chain["enter_ns"].transform("size")
    return rows.assign(lasted_ns=lasted)[(count >= _MIN_TRAPS) & (lasted > penalty.longest_sleep_ns)]


def _finding(trace: Trace, penalty: Penalty, rows: pd.DataFrame) -> Finding:
    first = rows.iloc[0]
    tid, rip = int(first["tid"]), int(first["rip"])
    numbers = _numbers(trace.traps, rows, penalty)
    known = rows["vcpu"].dropna()
    subject = trace.subject(int(first["tgid"]), tid, int(known.iloc[0]) if len(known) else None)
    livelock = numbers["longest_ns"] >= _LIVELOCK_PENALTIES * penalty.longest_sleep_ns
    return Finding(
        kind=KIND,
        severity=Severity.CRITICAL if livelock else Severity.WARNING,
        verdict="livelock" if livelock else "held up",
        subject=subject,
        rip=rip,
        start_ns=int(rows["enter_ns"].min()),
        end_ns=int(rows["exit_ns"].max()),
        cause=_cause(numbers, penalty),
        numbers=numbers,
        remedies=_remedies(trace, numbers, penalty, guest=bool(first["guest"])),
        evidence=rows,
    )


def _numbers(traps: pd.DataFrame, rows: pd.DataFrame, penalty: Penalty) -> dict[str, Any]:
    first = rows.iloc[0]
    start, end = rows["enter_ns"].min(), rows["exit_ns"].max()
    same = traps[(traps["tid"] == first["tid"]) & traps["enter_ns"].between(start, end)]
    served = same["slept"] & (same["sleep_left_ms"] == 0) & (same["semaphore_result"] == 0)
    # The first trap of a chain is counted from before the chain, so its guest time is not part of it.
    inner = rows[rows["chain"] == rows["chain"].shift()]
    watched = inner[inner["exits_watched"]]
    loops = rows.drop_duplicates("chain")["lasted_ns"]
    return {
        "guest": bool(first["guest"]),
        "loops": len(loops),
        "in_loops_ns": int(loops.sum()),
        "longest_ns": int(loops.max()),
        "traps": len(same),
        "early_returns": int((same["sleep_left_ms"] > 0).sum()),
        "penalties_served": int(served.sum()),
        "detection_off": int(same["detection_off"].sum()),
        "slept_median_ns": int(rows["sleep_ns"].median()),
        "exits": int(watched["exits"].sum()) if len(watched) else None,
        "guest_ns": int(watched["guest_ns"].sum()) if len(watched) else None,
        "watched_traps": len(watched),
        "dead_ns": penalty.dead_ns,
        "alive_ns": penalty.alive_ns,
        "sleep_shortest_ns": penalty.shortest_sleep_ns,
        "sleep_longest_ns": penalty.longest_sleep_ns,
        **_signal(rows),
    }


def _signal(rows: pd.DataFrame) -> dict[str, Any]:
    # The signal that ends most of the sleeps, who makes it, and how regularly it comes within a chain.
    what = ["signal", "signal_code", "signal_tgid", "signal_tid", "signal_group"]
    seen = rows[rows["signal"] > 0]
    if seen.empty:
        return dict.fromkeys(what) | {"signal_seen": 0, "period_ns": None, "period_spread_ns": None}
    ranked = seen.groupby(what, sort=False).size().sort_values(ascending=False, kind="stable")
    most = dict(zip(what, ranked.index[0], strict=True))
    mine = seen[(seen[what] == pd.Series(most)).all(axis=1)]
    gaps = mine["signal_ns"].diff()[mine["chain"] == mine["chain"].shift()]
    quartiles = gaps.quantile([0.25, 0.5, 0.75]) if len(gaps) else None
    return {
        **{key: int(value) for key, value in most.items()},
        "signal_seen": len(mine),
        "period_ns": int(quartiles[0.5]) if quartiles is not None else None,
        "period_spread_ns": int(quartiles[0.75] - quartiles[0.25]) if quartiles is not None else None,
    }


def _cause(numbers: dict[str, Any], penalty: Penalty) -> str:
    if numbers["signal"] is None:
        what = "Something that sends no signal (task work, of io_uring for example)"
    else:
        what = signals.name(numbers["signal"])
    return (
        f"To punish a split lock the kernel puts the thread to sleep for {_ms(penalty.shortest_sleep_ns)} to "
        f"{_ms(penalty.longest_sleep_ns)} ms and then lets it run. {what} cut the sleep short, after a "
        f"median of {_ms(numbers['slept_median_ns'])} ms. The kernel then returns with detection still on, "
        "and the same instruction traps again."
    )


def _remedies(trace: Trace, numbers: dict[str, Any], penalty: Penalty, guest: bool) -> list[Remedy]:
    timer = numbers["signal_code"] in (Code.SI_TIMER, Code.SI_KERNEL)
    alive, dead = _ms(penalty.alive_ns), _ms(penalty.dead_ns)
    remedies = [
        Remedy(
            f"In the {'VMM' if guest else 'program'}: leave more than {alive} ms between the "
            f"{'timer' if timer else 'signal'}s that reach this thread. On this kernel nothing gets through "
            f"at {dead} ms or less, everything does above {alive} ms, and chance decides in between.",
            f"what the {'timer' if timer else 'signal'} is for happens later; nothing changes for others",
        )
    ]
    if trace.fact("split_lock", "mitigate") == 1:
        late = "; before 6.15 detection may come back late on other CPUs" if penalty.shared_reenable else ""
        remedies.append(
            Remedy(
                "On the host, at once: do not punish split locks.",
                "any VM or program here may then take split locks for the price of one trap in two jiffies, "
                "and slow down memory for all the others: the attack that the penalty is there to stop"
                f"{late}",
                "sysctl kernel.split_lock_mitigate=0",
            )
        )
    remedies.append(
        Remedy(
            f"In the {'guest' if guest else 'program'}: align the data of the instruction so that it does "
            "not cross a cache line (64 bytes).",
            "none at run time; the software has to be changed",
        )
    )
    remedies.append(
        Remedy(
            "On the host, at the next boot: no split-lock detection.",
            "a reboot; split locks go unnoticed, and anybody can slow down the whole host with them",
            "split_lock_detect=off on the kernel's command line",
        )
    )
    return remedies


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.3g}"
