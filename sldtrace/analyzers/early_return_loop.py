"""Finds threads that trap on one instruction for ever because a signal ends each penalty early.

The rule. split_lock_warn sleeps interruptibly and returns, with detection still on, when the sleep was cut
short: `if (msleep_interruptible(10) > 0) return;`, and so with the semaphore behind it (b041b525dab9). Such a
trap changes nothing, and the thread traps on the same instruction again. The instruction is executed only
where detection is off: after a trap of this thread that was served, or in the two jiffies that another
thread's penalty gave to the same core. A chain is all early traps of one thread at one address with no such
moment in between; what else the guest runs meanwhile (interrupts, other tasks) does not help the instruction.
A chain is a loop when it has outlasted a whole penalty, that is, when a thread left alone would have got
through.
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
from sldtrace.trace import Trace

KIND = "early-return-loop"
NEEDS = ("trap", "detection")
SIGNAL_PROBE = "signal:signal_generate"

_TIMER_SIGNALS = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF)
_DETECT = np.uint64(1 << 29)  # MSR_TEST_CTRL, Intel SDM volume 4
_MIN_TRAPS = 3  # a signal may fall into two sleeps in a row by chance; it then has missed the next one
# So many penalties long without one getting through: no chance, but a pattern. More where it does get through
# now and then: between the two thresholds of a kernel, chance makes stretches of some length.
_LIVELOCK_PENALTIES = 8
_LIVELOCK_TRAPS = 8
_LIVELOCK_PENALTIES_BETWEEN_PROGRESS = 64


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
    opened = _opened(rows, since, detection, core)
    watched = rows["msr_watched"].to_numpy()
    known = watched & np.concatenate([watched[:1], watched[:-1]])
    blind = ~known & (rows["enter_ns"].to_numpy() - since >= penalty.longest_sleep_ns)
    # A trap that was let go, or of which nothing is known, ends what was before it.
    other = ~rows["early"].to_numpy()
    stretch = (~same | opened | blind | other).cumsum()
    early = rows.assign(stretch=stretch)[~other]
    number = early.groupby(["stretch", "rip"], sort=False).ngroup()
    early = early.assign(chain=number).drop(columns="stretch")
    return early.sort_values(["chain", "enter_ns"], kind="stable", ignore_index=True)


# Not by `shift`, which makes floats of integers: two addresses in the kernel's half may then look alike.
def _as_before(column: pd.Series) -> npt.NDArray[np.bool_]:
    values = column.to_numpy()
    same: npt.NDArray[np.bool_] = np.zeros(len(values), bool)
    same[1:] = values[1:] == values[:-1]
    return same


# Was detection off on the core, at some time between the thread's last trap and this one?
def _opened(
    rows: pd.DataFrame, since: npt.NDArray[np.int64], detection: pd.DataFrame, core: Callable[[int], int]
) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = np.zeros(len(rows), bool)
    of_write = detection["cpu"].map(core).to_numpy()
    of_row = rows["enter_cpu"].map(core).to_numpy()
    on = (detection["value"].to_numpy() & _DETECT) != 0
    times = detection["ns"].to_numpy()
    for each in np.unique(of_write):
        mine = of_write == each
        here = of_row == each
        # A trap proves that detection is on, also where the write that switched it on was not seen.
        ends = np.sort(np.concatenate([times[mine & on], rows["enter_ns"].to_numpy()[here]]))
        starts = times[mine & ~on]
        begun = np.searchsorted(starts, rows["enter_ns"].to_numpy()[here])
        last_start = np.where(begun > 0, starts[np.maximum(begun - 1, 0)] if len(starts) else 0, -1)
        ended = np.searchsorted(ends, since[here])
        last_end = np.where(ended > 0, ends[np.maximum(ended - 1, 0)] if len(ends) else 0, -1)
        # A window that began before this trap, and had not ended before the last one returned.
        found[here] = last_start > last_end
    return found


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
    enough = _LIVELOCK_PENALTIES if numbers["loops"] == 1 else _LIVELOCK_PENALTIES_BETWEEN_PROGRESS
    lasting = numbers["longest_ns"] >= enough * penalty.longest_sleep_ns
    livelock = lasting and numbers["early_returns"] >= _LIVELOCK_TRAPS
    return Finding(
        kind=KIND,
        severity=Severity.CRITICAL if livelock else Severity.WARNING,
        verdict="livelock" if livelock else "held up",
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
