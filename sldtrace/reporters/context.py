"""What happened around the penalties: who waited for a punished vCPU, and threads that were moved."""

from collections.abc import Iterator

import pandas as pd

from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.host.exits import user_name
from sldtrace.reporters import wording
from sldtrace.reporters.style import Style
from sldtrace.text.escape import escape

_WAITS = 3  # the longest ones
_MOVED = 3  # threads

_LOCKS = {"srcu": "for readers of kvm->srcu", "mutex": "for a mutex"}


def render(trace: Trace, threads: pd.DataFrame, style: Style) -> str:
    """The section; empty where there is nothing to say. `threads` as analyzers.threads.summary gives it."""
    parts = [*_stalls(trace, threads, style), *_migrations(trace, threads, style)]
    return "\n".join(parts)


def _stalls(trace: Trace, threads: pd.DataFrame, style: Style) -> Iterator[str]:
    stalls = trace.rows("stall")
    stalls = stalls[stalls["penalized_tid"] != 0]
    if stalls.empty:
        return
    total = wording.length(int(stalls["waited_ns"].sum()))
    yield f"Who waited for a punished vCPU: {wording.plural(len(stalls), 'wait')}, {total} in all"
    longest = stalls.largest("waited_ns", _WAITS)
    for row in longest.to_dict("records"):
        who = trace.subject(row["tgid"], row["tid"], None)
        vcpu = _vcpu(threads, row["tgid"], row["penalized_tid"])
        punished = "" if vcpu is None else f"vCPU {vcpu}, "
        caller = trace.text("kvm", "functions", str(row["caller"]))
        where = escape(caller, 64) or f"kvm+{row['caller']:#x}"
        lock = _LOCKS.get(str(row["what"]), "")
        result = "" if row["result"] == 0 else f", in vain ({user_name(0, row['result'])})"
        yield wording.fill(
            f"{wording.moment(trace, row['ns'], date=False)}: {wording.thread(who)} waited"
            f" {wording.length(row['waited_ns'])} {lock} in {where}{result},"
            f" while {punished}TID {row['penalized_tid']} was punished",
            style,
        )


def _migrations(trace: Trace, threads: pd.DataFrame, style: Style) -> Iterator[str]:
    moves = trace.rows("migrate")
    if moves.empty:
        return
    by_thread = moves.counted("tgid", "tid")
    yield f"Moved to another CPU within a second of a trap: {wording.plural(len(by_thread), 'thread')}"
    for row in by_thread.head(_MOVED).to_dict("records"):
        tgid, tid = int(row["tgid"]), int(row["tid"])
        mine = moves.thread(tgid, tid)
        who = trace.subject(tgid, tid, _vcpu(threads, tgid, tid))
        name = wording.thread(who) if who.vcpu is None else f"vCPU {who.vcpu} of {wording.thread(who)}"
        cpus = {*mine["from_cpu"].unique(), *mine["to_cpu"].unique()}
        often = wording.plural(int(row["count"]), "time")
        yield wording.fill(f"{name}: {often}, between {len(cpus)} CPUs; {_mover(trace, mine)}", style)


# Whoever was running when the scheduler moved the thread: its mover, if anybody was.
def _mover(trace: Trace, mine: Rows) -> str:
    tgid, tid, moves = mine.most("by_tgid", "by_tid")
    times = f"{moves:,} of them while"
    if tid == mine["tid"].iloc[0]:
        return f"{times} it was running itself"
    if not tid:
        return f"{times} the CPU was idle"
    return f"{times} {wording.thread(trace.subject(tgid, tid, None))} was running"


def _vcpu(threads: pd.DataFrame, tgid: int, tid: int) -> int | None:
    known = threads[(threads["tgid"] == tgid) & (threads["tid"] == tid)]["vcpu"].dropna()
    return int(known.iloc[0]) if len(known) else None
