"""What happened around the penalties: waits for a penalized vCPU, and threads that were moved."""

from collections.abc import Iterator

import pandas as pd

from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.host.exits import user_name
from sldtrace.reporters import wording
from sldtrace.reporters.document import Section, Text
from sldtrace.text.escape import escape
from sldtrace.text.phrases import address

_WAITS = 3  # the longest ones
_MOVED = 3  # threads

_LOCKS = {"srcu": "for readers of kvm->srcu", "mutex": "for a mutex"}


def sections(trace: Trace, threads: pd.DataFrame) -> Iterator[Section]:
    """Those in which there is something. `threads` as analyzers.threads.summarize gives it."""
    yield from _stalls(trace, threads)
    yield from _migrations(trace, threads)


def _stalls(trace: Trace, threads: pd.DataFrame) -> Iterator[Section]:
    stalls = trace.rows("stall")
    stalls = stalls[stalls["penalized_tid"] != 0]
    if stalls.empty:
        return
    total = wording.length(int(stalls["waited_ns"].sum()))
    texts = []
    for row in stalls.nlargest("waited_ns", _WAITS).to_dict("records"):
        who = trace.subject(row["tgid"], row["tid"], None)
        vcpu = _vcpu(threads, row["tgid"], row["penalized_tid"])
        penalized = "" if vcpu is None else f"vCPU {vcpu}, "
        caller = trace.text("kvm", "functions", str(row["caller"]))
        where = escape(caller, 64) or f"kvm+{address(row['caller'])}"
        lock = _LOCKS.get(str(row["what"]), "")
        failed = "" if row["result"] == 0 else f" without success ({user_name(0, row['result'])})"
        texts.append(
            Text(
                f"{wording.moment(trace, row['ns'], date=False)}: {wording.thread(who)} waited"
                f" {wording.length(row['waited_ns'])} {lock} in {where}{failed},"
                f" while {penalized}TID {row['penalized_tid']} was penalized"
            )
        )
    yield Section(f"Waits for a penalized vCPU: {wording.plural(len(stalls), 'wait')}, {total} in all", texts)


def _migrations(trace: Trace, threads: pd.DataFrame) -> Iterator[Section]:
    moves = trace.rows("migrate")
    if moves.empty:
        return
    by_thread = moves.value_counts("tgid", "tid")
    texts = []
    for row in by_thread.head(_MOVED).to_dict("records"):
        tgid, tid = int(row["tgid"]), int(row["tid"])
        mine = moves.thread(tgid, tid)
        who = trace.subject(tgid, tid, _vcpu(threads, tgid, tid))
        name = wording.thread(who) if who.vcpu is None else f"vCPU {who.vcpu} of {wording.thread(who)}"
        cpus = {*mine["from_cpu"].unique(), *mine["to_cpu"].unique()}
        often = wording.plural(int(row["count"]), "time")
        texts.append(Text(f"{name}: {often}, between {len(cpus)} CPUs; {_mover(trace, mine)}"))
    count = wording.plural(len(by_thread), "thread")
    yield Section(f"Moved to another CPU within a second of a trap: {count}", texts)


# The thread that was running when the scheduler moved this one: its mover, if there was one.
def _mover(trace: Trace, mine: Rows) -> str:
    tgid, tid, moves = mine.mode("by_tgid", "by_tid")
    times = f"{moves:,} of them while"
    if tid == mine["tid"].iloc[0]:
        return f"{times} it was running itself"
    if not tid:
        return f"{times} the CPU was idle"
    return f"{times} {wording.thread(trace.subject(tgid, tid, None))} was running"


def _vcpu(threads: pd.DataFrame, tgid: int, tid: int) -> int | None:
    known = threads[(threads["tgid"] == tgid) & (threads["tid"] == tid)]["vcpu"].dropna()
    return int(known.iloc[0]) if len(known) else None
