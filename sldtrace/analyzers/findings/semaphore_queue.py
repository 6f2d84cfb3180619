"""Finds threads that wait for each other's penalties: the semaphore behind the sleep is one for the host.

split_lock_warn takes buslock_sem after its sleep, and the delayed work gives it back two jiffies later
(__split_lock_reenable_unlock, b041b525dab9). So no more than HZ/2 penalties a second are completed on the
whole host. A free semaphore is taken without waiting; one that is held comes free at a tick. So whoever waits
for a jiffy or longer stands in a queue.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from sldtrace.analyzers import remedies
from sldtrace.analyzers.finding import Confidence, Fact, Finding, Numbers, Severity
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.subject import thread
from sldtrace.dataset.trace import Trace
from sldtrace.model.penalty import WINDOW_JIFFIES
from sldtrace.prediction import recorded_penalty
from sldtrace.text.phrases import length, percent, plural, rate

KIND = "semaphore-queue"
TITLE = "queues at the penalty's semaphore"
NEEDS = Needs(("trap",), probes=("down_interruptible",))

_LEAST = 3  # such waits of a thread; two penalties may meet by chance
_SHARE = 0.05  # of a thread's time: noticed by whoever uses the guest
_SHOWN = 5


@dataclass(frozen=True)
class Victim:
    """A thread that waits for the penalties of others."""

    tgid: int
    tid: int
    waits: int
    waited_ns: int
    share: float  # waited_ns of the time from its first trap to its last


@dataclass(frozen=True)
class QueueNumbers(Numbers):
    """Waits for the penalty's semaphore on the whole host."""

    threads: int  # victims
    processes: int  # of the victims
    holders: int  # threads that held the semaphore
    waits: int  # of the victims, a jiffy long or more
    waited_ns: int  # in all
    longest_ns: int
    completed: int  # penalties at the semaphore
    completed_per_s: float
    most_per_s: int  # no kernel with this HZ completes more
    victims: tuple[Victim, ...]  # the longest wait first

    @property
    def affected(self) -> list[tuple[int, int]]:
        """The victims."""
        return [(each.tgid, each.tid) for each in self.victims]


def find(trace: Trace) -> list[Finding[QueueNumbers]]:
    """One finding for the host, or none."""
    table = victims(trace)
    return [_finding(trace, table)] if len(table) else []


@per_trace
def victims(trace: Trace) -> pd.DataFrame:
    """One row a thread that waits, the longest wait first; none if the others' penalties were not seen.

    Columns: tgid, tid, vcpu, waits, waited_ns, longest_ns, slept_ns, span_ns (from first trap to last),
    holds (is it seen to have held the semaphore?), share.
    """
    tick = recorded_penalty.penalty(trace).tick_ns
    threads = trace.rows("trap").threads
    found = [{"tgid": tgid, "tid": tid} | _waits(rows, tick) for (tgid, tid), rows in threads.items()]
    columns = ["tgid", "tid", "vcpu", "waits", "waited_ns", "longest_ns", "slept_ns", "span_ns", "holds"]
    types = dict.fromkeys(columns, "int64") | {"vcpu": "Int64", "holds": "bool"}
    table = pd.DataFrame(found, columns=columns).astype(types)
    table["share"] = (table["waited_ns"] / table["span_ns"].clip(lower=1)).round(4)
    if table["holds"].sum() < 2:
        return table.head(0)
    chosen = (table["waits"] >= _LEAST) & (table["share"] >= _SHARE)
    return table[chosen].sort_values("waited_ns", ascending=False, kind="stable", ignore_index=True)


# A wait that a signal ended is no place in the queue: see semaphore_early_return.
def _waits(rows: Rows, tick_ns: int) -> dict[str, Any]:
    known = rows["vcpu"].dropna()
    wait = rows["semaphore_ns"][_served(rows) & (rows["semaphore_ns"] >= tick_ns)]
    return {
        "vcpu": int(known.iloc[-1]) if len(known) else None,
        "waits": len(wait),
        "waited_ns": int(wait.sum()),
        "longest_ns": int(wait.max()) if len(wait) else 0,
        "slept_ns": int(rows["sleep_ns"].sum()),
        "span_ns": int(rows["end_ns"].max() - rows["start_ns"].min()),
        "holds": bool((rows["detection_off"] & rows["semaphore"]).any()),
    }


def _served(rows: Rows) -> "pd.Series[bool]":
    return rows["semaphore"] & (rows["semaphore_result"] == 0)


def _finding(trace: Trace, table: pd.DataFrame) -> Finding[QueueNumbers]:
    penalty = recorded_penalty.penalty(trace)
    traps = trace.rows("trap")
    who = table[["tgid", "tid"]].itertuples(index=False, name=None)
    mine = traps[traps.isin([traps.thread(int(tgid), int(tid)) for tgid, tid in who])]
    evidence = mine[_served(mine) & (mine["semaphore_ns"] >= penalty.tick_ns)]
    start, end = int(evidence["start_ns"].min()), int(evidence["end_ns"].max())
    inside = traps[traps["detection_off"] & traps["semaphore"] & traps["end_ns"].between(start, end)]
    processes = int(table["tgid"].nunique())
    bound = 1_000_000_000 // (WINDOW_JIFFIES * penalty.tick_ns)
    numbers = QueueNumbers(
        threads=len(table),
        processes=processes,
        holders=len(inside.counted("tgid", "tid")),
        waits=int(table["waits"].sum()),
        waited_ns=int(table["waited_ns"].sum()),
        longest_ns=int(table["longest_ns"].max()),
        completed=len(inside),
        completed_per_s=round(len(inside) * 1e9 / max(end - start, 1), 1),
        most_per_s=bound,
        victims=tuple(
            Victim(row["tgid"], row["tid"], row["waits"], row["waited_ns"], row["share"])
            for row in table.to_dict("records")
        ),
    )
    whose = f" of {processes:,} VMs or programs" if processes > 1 else ""
    return Finding(
        kind=KIND,
        severity=Severity.WARNING,
        verdict="queue",
        subject=None,
        headline=f"{plural(len(table), 'thread')}{whose} wait for each other's split-lock penalties",
        rip=None,
        start_ns=start,
        end_ns=end,
        ongoing=trace.span_ns[1] - end < 2 * penalty.longest_sleep_ns,
        confidence=Confidence.CERTAIN,
        confidence_reason="each wait was measured",
        cause=(
            "Behind the penalty's sleep is a semaphore, one for the whole host: a thread holds it until "
            "detection comes back on its core, two to three jiffies later. Who takes split locks "
            "meanwhile, in "
            f"whatever VM, waits for it: no more than {bound:,} penalties a second are completed on this "
            "host."
        ),
        facts=_facts(trace, table, numbers),
        numbers=numbers,
        remedies=[
            *remedies.no_penalty(trace, penalty),
            remedies.fewer_at_once(),
            remedies.align(bool(mine["guest"].any())),
            remedies.no_detection(),
        ],
        evidence=evidence,
    )


def _facts(trace: Trace, table: pd.DataFrame, n: QueueNumbers) -> list[Fact]:
    waited = f"{plural(n.waits, 'time')}, {length(n.waited_ns)} in all, at most {length(n.longest_ns)}"
    completed = f"{rate(n.completed_per_s)} a second of {plural(n.holders, 'thread')}"
    lines = []
    for row in table.head(_SHOWN).to_dict("records"):
        who = trace.subject(row["tgid"], row["tid"], None if pd.isna(row["vcpu"]) else int(row["vcpu"]))
        vcpu = "" if who.vcpu is None else f"vCPU {who.vcpu} of "
        lines.append(f"{vcpu}{thread(who)} {percent(row['share'], 1)} of its time")
    more = f"; and {len(table) - _SHOWN} more" if len(table) > _SHOWN else ""
    return [
        Fact("waited", waited),
        Fact("penalties", f"{completed}; at most {n.most_per_s:,}"),
        Fact("victims", "; ".join(lines) + more),
    ]
