"""Finds threads that trap on one instruction for ever because a signal ends each penalty early.

The rule is in sldtrace.rules.early_returns, which the recorder applies too; this says what follows from it.
"""

import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sldtrace.analyzers.finding import Finding, Remedy, Severity
from sldtrace.host import signals
from sldtrace.host.signals import Code
from sldtrace.model import penalty as kernel_penalty
from sldtrace.model.penalty import Penalty
from sldtrace.rules import early_returns as rule
from sldtrace.trace import Trace

KIND = rule.KIND
NEEDS = ("trap", "detection")
SIGNAL_PROBE = "signal:signal_generate"

_TIMER_SIGNALS = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF)


def find(trace: Trace) -> list[Finding]:
    """One finding for each thread and address with loops, the longest first."""
    penalty = kernel_penalty.of_facts(trace.facts)
    rows = in_loops(chains(trace.traps, trace.detection, trace.core, penalty), penalty)
    found = [_finding(trace, penalty, group) for _, group in rows.groupby(["tgid", "tid", "rip"], sort=False)]
    return sorted(found, key=lambda finding: finding.numbers["longest_ns"], reverse=True)


def chains(
    traps: pd.DataFrame, detection: pd.DataFrame, core: Callable[[int], int], penalty: Penalty
) -> pd.DataFrame:
    """The early traps, by thread and time, with the number of their chain in `chain`.

    detection: writes of MSR_TEST_CTRL; core: of a CPU, which shares that MSR with its sibling. Where the MSR
    was not watched, less than a penalty may have passed since the thread's last trap.
    """
    rows = traps.sort_values(["tgid", "tid", "enter_ns"], kind="stable", ignore_index=True)
    same = _as_before(rows["tgid"]) & _as_before(rows["tid"])
    since = rows["exit_ns"].shift(fill_value=0).to_numpy()
    enter = rows["enter_ns"].to_numpy()
    opened = rule.Windows().opened(
        rows["enter_cpu"].map(core).to_numpy(np.int64),
        since,
        enter,
        detection["cpu"].map(core).to_numpy(np.int64),
        detection["ns"].to_numpy(),
        (detection["value"].to_numpy() & rule.DETECT) != 0,
    )
    watched = rows["msr_watched"].to_numpy()
    known = watched & np.concatenate([watched[:1], watched[:-1]])
    is_early = rows["early"].to_numpy()
    stretch = rule.breaks(penalty, same, is_early, known, since, enter, opened).cumsum()
    early = rows.assign(stretch=stretch)[is_early]
    number = early.groupby(["stretch", "rip"], sort=False).ngroup()
    early = early.assign(chain=number).drop(columns="stretch")
    return early.sort_values(["chain", "enter_ns"], kind="stable", ignore_index=True)


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
    return rows.assign(lasted_ns=lasted)[rule.is_loop(count, lasted, penalty)]


def _finding(trace: Trace, penalty: Penalty, rows: pd.DataFrame) -> Finding:
    first = rows.iloc[0]
    tid, rip = int(first["tid"]), int(first["rip"])
    numbers = _numbers(trace.traps, rows, penalty)
    known = rows["vcpu"].dropna()
    subject = trace.subject(int(first["tgid"]), tid, int(known.iloc[0]) if len(known) else None)
    livelock = rule.is_livelock(numbers["loops"], numbers["longest_ns"], numbers["early_returns"], penalty)
    verdict, severity = rule.verdict(livelock)
    return Finding(
        kind=KIND,
        severity=Severity[severity.upper()],
        verdict=verdict,
        subject=subject,
        rip=rip,
        start_ns=int(rows["enter_ns"].min()),
        end_ns=int(rows["exit_ns"].max()),
        cause=_cause(trace, numbers, penalty),
        numbers=numbers,
        remedies=_remedies(trace, numbers, penalty, guest=bool(first["guest"])),
        evidence=rows,
    )


def _numbers(traps: pd.DataFrame, rows: pd.DataFrame, penalty: Penalty) -> dict[str, Any]:
    first = rows.iloc[0]
    start, end = rows["enter_ns"].min(), rows["exit_ns"].max()
    thread = (traps["tgid"] == first["tgid"]) & (traps["tid"] == first["tid"])
    same = traps[thread & traps["enter_ns"].between(start, end)]
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
        "early_returns": int(same["early"].sum()),
        "semaphore_early_returns": int((same["semaphore_result"] < 0).sum()),
        "released": int(same["released"].sum()),
        "slept_median_ns": int(rows["sleep_ns"].median()),
        "exits": int(watched["exits"].sum()) if len(watched) else None,
        "guest_ns": int(watched["guest_ns"].sum()) if len(watched) else None,
        "watched_traps": len(watched),
        "dead_ns": penalty.dead_ns,
        "alive_ns": penalty.alive_ns,
        "sleep_shortest_ns": penalty.shortest_sleep_ns,
        "sleep_longest_ns": penalty.longest_sleep_ns,
        **_signal(same),
    }


def _signal(rows: pd.DataFrame) -> dict[str, Any]:
    # The signal that ends most of the sleeps, who makes it, and how regularly it comes, at whatever address.
    what = ["signal", "signal_code", "signal_tgid", "signal_tid", "signal_group"]
    seen = rows[rows["signal"] > 0]
    if seen.empty:
        return dict.fromkeys(what) | {"signal_seen": 0, "period_ns": None, "period_spread_ns": None}
    ranked = seen.groupby(what, sort=False).size().sort_values(ascending=False, kind="stable")
    most = dict(zip(what, ranked.index[0], strict=True))
    matching = (rows[what] == pd.Series(most)).all(axis=1)
    mine = rows[matching]
    gaps = rows["signal_ns"].diff()[matching & matching.shift(fill_value=False)]
    quartiles = gaps.quantile([0.25, 0.5, 0.75]) if len(gaps) else None
    return {
        **{key: int(value) for key, value in most.items()},
        "signal_seen": len(mine),
        "period_ns": int(quartiles[0.5]) if quartiles is not None else None,
        "period_spread_ns": int(quartiles[0.75] - quartiles[0.25]) if quartiles is not None else None,
    }


def _cause(trace: Trace, numbers: dict[str, Any], penalty: Penalty) -> str:
    if numbers["signal"] is not None:
        what = signals.name(numbers["signal"])
    elif (SIGNAL_PROBE, "tracepoint") in trace.probes:
        what = "Something of which no signal was seen (task work, of io_uring for example, sends none)"
    else:
        what = "Something (signals could not be watched)"
    return (
        f"To punish a split lock the kernel puts the thread to sleep for {_ms(penalty.shortest_sleep_ns)} to "
        f"{_ms(penalty.longest_sleep_ns)} ms and then lets it run. {what} cut the sleep short, after a "
        f"median of {_ms(numbers['slept_median_ns'])} ms. The kernel then returns with detection still on, "
        "and the same instruction traps again."
        + (
            ""
            if penalty.known
            else " (How long the sleep lasts is assumed: the kernel's version is not known.)"
        )
    )


def _remedies(trace: Trace, numbers: dict[str, Any], penalty: Penalty, guest: bool) -> list[Remedy]:
    timer = numbers["signal_code"] == Code.SI_TIMER or numbers["signal"] in _TIMER_SIGNALS
    alive = _ms(penalty.alive_ns)
    # At HZ=100 the sleep is one jiffy: no period is too short to get through by luck.
    dead = f"nothing at {_ms(penalty.dead_ns)} ms or less, and " if penalty.dead_ns else ""
    remedies = [
        Remedy(
            f"In the {'VMM' if guest else 'program'}: leave more than {alive} ms between the "
            f"{'timer' if timer else 'signal'}s that reach this thread. On this kernel everything gets "
            f"through above {alive} ms, {dead}chance decides in between.",
            f"what the {'timer' if timer else 'signal'} is for happens later; nothing changes for others",
        )
    ]
    if trace.number("split_lock", "mitigate") == 1:
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
